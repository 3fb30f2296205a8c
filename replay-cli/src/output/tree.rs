//! Trees: what stems from what.

/// Puts the lines of a branch in front of each text, given its depth (0 for a root). Deeper ones follow what they stem from.
pub(crate) fn draw(nodes: &[(usize, String)]) -> String {
    let lines = nodes.iter().enumerate().map(|(at, (depth, text))| {
        // A level goes on below if a later node has it before one that is higher.
        let goes_on = |level: usize| nodes[at + 1..].iter().take_while(|(other, _)| *other >= level).any(|(other, _)| *other == level);
        let mut prefix = String::new();
        for level in 1..*depth {
            prefix.push_str(if goes_on(level) { "│  " } else { "   " });
        }
        if *depth > 0 {
            prefix.push_str(if goes_on(*depth) { "├─ " } else { "└─ " });
        }
        let rest: String = (1..=*depth).map(|level| if goes_on(level) { "│  " } else { "   " }).collect();
        format!("{prefix}{}", text.replace('\n', &format!("\n{rest}")))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_joined_to_what_they_stem_from() {
        let nodes = [(0, "root"), (1, "a\nmore"), (2, "b"), (2, "c"), (1, "d"), (2, "e")].map(|(depth, text)| (depth, text.to_owned()));
        assert_eq!(draw(&nodes), "root\n├─ a\n│  more\n│  ├─ b\n│  └─ c\n└─ d\n   └─ e");
    }
}
