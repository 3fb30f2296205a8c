//! Suggestions for what was probably meant.

/// The one of `known` that is most like `text`, if any is alike.
pub(crate) fn nearest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let score = |candidate: &&str| strsim::jaro_winkler(&candidate.to_lowercase(), &text.to_lowercase());
    let best = known.iter().copied().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(&best) > 0.75).then_some(best)
}

/// What to say about `text`, which is none of `known`; none if there is nothing to choose from.
pub(crate) fn hint(text: &str, known: &[&str]) -> Option<String> {
    if known.is_empty() {
        return None;
    }
    let all = if known.len() <= 20 { known.join(", ") } else { format!("{}, …", known[..20].join(", ")) };
    Some(match nearest(text, known) {
        Some(near) => format!("did you mean `{near}`? known: {all}"),
        None => format!("known: {all}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_recognised_and_something_else_is_not() {
        let known = ["reserve_inventory", "charge_payment", "ship_order"];
        assert_eq!(nearest("charge_paymnet", &known), Some("charge_payment"));
        assert_eq!(nearest("zzz", &known), None);
        assert!(hint("x", &known).is_some_and(|text| text.starts_with("known: ")));
        assert_eq!(hint("x", &[]), None);
    }
}
