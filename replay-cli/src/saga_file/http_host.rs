//! Which hosts an http step may talk to: those that the file names literally, and those in `allow_hosts`.

use reqwest::Url;

/// A URL that may hold templates, with its host where that is literal.
#[derive(Debug, Clone)]
pub(super) struct UrlTemplate {
    pub(super) text: String,
    /// Host and port as the file says them; none if a template decides.
    pub(super) literal_host: Option<String>,
}

impl UrlTemplate {
    /// Checks a URL of a saga file.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn parse(text: &str, allow_hosts: &[String]) -> Result<Self, String> {
        if text.contains(char::is_control) {
            return Err("a URL holds no control characters".to_owned());
        }
        let lower = text.to_ascii_lowercase();
        let rest = ["http://", "https://"].iter().find_map(|scheme| lower.starts_with(scheme).then(|| &text[scheme.len()..]));
        let rest = rest.ok_or_else(|| "a URL begins with http:// or https://, literally".to_owned())?;
        let authority = &rest[..end_of_authority(rest)];
        if authority.contains('@') {
            return Err("a URL holds no user name or password; send an Authorization header with a secret".to_owned());
        }
        if authority.contains("{{") || authority.contains("{%") {
            if allow_hosts.is_empty() {
                return Err("a template decides the host of this URL; list the hosts that it may be in `allow_hosts`".to_owned());
            }
            return Ok(Self { text: text.to_owned(), literal_host: None });
        }
        let scheme = &text[..text.len() - rest.len()];
        let url = Url::parse(&format!("{scheme}{authority}/")).map_err(|error| format!("`{authority}` is not a host: {error}"))?;
        Ok(Self { text: text.to_owned(), literal_host: host_of(&url) })
    }

    /// Whether a request may go to `url`.
    pub(super) fn allows(&self, url: &Url, allow_hosts: &[String]) -> bool {
        let plain = matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
        // A host may be listed with or without the port that is the scheme's own.
        let names = host_of(url).into_iter().chain(with_port(url));
        plain && names.into_iter().any(|host| self.literal_host.as_ref() == Some(&host) || allow_hosts.contains(&host))
    }
}

/// Where the part of the URL that decides the host ends. A template counts as a whole, whatever is in it.
fn end_of_authority(rest: &str) -> usize {
    let mut in_template = false;
    let mut chars = rest.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, c)| *c);
        match (c, next) {
            ('{', Some('{' | '%' | '#')) => in_template = true,
            ('}' | '%' | '#', Some('}')) if in_template => in_template = false,
            ('/' | '?' | '#' | '\\', _) if !in_template => return at,
            _ => {}
        }
    }
    rest.len()
}

/// A URL's host in lower case, with its port unless that is the scheme's own.
pub(super) fn host_of(url: &Url) -> Option<String> {
    let host = url.host_str()?.to_ascii_lowercase();
    Some(url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}")))
}

fn with_port(url: &Url) -> Option<String> {
    Some(format!("{}:{}", url.host_str()?.to_ascii_lowercase(), url.port_or_known_default()?))
}

/// Checks an entry of `allow_hosts` and brings it into the form of [`host_of`], with the port if it has one.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn allowed_host(text: &str) -> Result<String, String> {
    let wrong = || format!("`{text}` is not a host; write api.example.com or 127.0.0.1:9000");
    if text.contains(['/', '@', '?', '#', '*', '{']) {
        return Err(wrong());
    }
    // The scheme of the request is not known here: its port is kept, so that `a:80` does not stand for `https://a`.
    let scheme = if text.ends_with(":80") { "https" } else { "http" };
    let url = Url::parse(&format!("{scheme}://{text}/")).map_err(|_| wrong())?;
    host_of(&url).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(template: &str, allow: &[&str], url: &str) -> bool {
        let allow: Vec<String> = allow.iter().map(|host| allowed_host(host).unwrap()).collect();
        UrlTemplate::parse(template, &allow).unwrap().allows(&Url::parse(url).unwrap(), &allow)
    }

    #[test]
    fn a_literal_host_is_the_only_one_that_is_allowed() {
        assert!(allowed("http://pay.example/{{ context.a }}", &[], "http://pay.example/x"));
        assert!(allowed("http://Pay.Example:80/a", &[], "http://pay.example/x"));
        for other in
            ["http://evil.example/", "http://pay.example:81/", "http://pay.example.evil/", "http://x@pay.example/", "ftp://pay.example/"]
        {
            assert!(!allowed("http://pay.example/a", &[], other), "{other}");
        }
    }

    #[test]
    fn a_host_from_a_template_must_be_listed() {
        assert!(UrlTemplate::parse("http://{{ context.host }}/a", &[]).is_err());
        assert!(UrlTemplate::parse("http://pay{{ context.x }}/a", &[]).is_err());
        assert!(UrlTemplate::parse("http://a{{ '/' }}b/a", &[]).is_err(), "a slash inside a template ends no host");
        assert!(allowed("http://{{ context.host }}/a", &["eu.example", "us.example:9000"], "http://us.example:9000/a"));
        assert!(!allowed("http://{{ context.host }}/a", &["eu.example"], "http://us.example/a"));
    }

    #[test]
    fn the_port_of_the_scheme_may_be_said() {
        let template = "http://{{ context.host }}/a";
        for (listed, url, expected) in [
            ("a.example:443", "https://a.example/", true),
            ("a.example:443", "http://a.example/", false),
            ("a.example:443", "http://a.example:443/", true),
            ("a.example:80", "http://a.example/", true),
            ("a.example:80", "https://a.example/", false),
            ("a.example", "https://a.example:443/", true),
            ("a.example", "https://a.example:444/", false),
        ] {
            assert_eq!(allowed(template, &[listed], url), expected, "{listed} {url}");
        }
    }

    #[test]
    fn what_is_no_plain_url_is_refused() {
        for wrong in ["pay.example/a", "ftp://pay.example", "{{ context.url }}", "http://user:pw@pay.example/", "http:///x"] {
            assert!(UrlTemplate::parse(wrong, &["pay.example".to_owned()]).is_err(), "{wrong}");
        }
        for wrong in ["http://a", "*.example", "a/b", "", "{{x}}"] {
            assert!(allowed_host(wrong).is_err(), "{wrong}");
        }
    }
}
