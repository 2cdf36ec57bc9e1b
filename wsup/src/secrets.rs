//! The secrets among the arguments, so that what a server repeats of them is not printed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The secrets of this run. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// Those of the arguments.
    lasting: Vec<String>,
    /// Those that were made for one dial, the newest last; at most [`MAX_FLEETING`].
    fleeting: VecDeque<String>,
}

/// The number of secrets of single dials that are hidden. The oldest is forgotten.
const MAX_FLEETING: usize = 1024;

/// The shortest secret that is hidden, in bytes: a shorter one is found in any text, and soon guessed.
const MIN_LEN: usize = 5;

/// Headers whose values are no secrets, and help to understand a refusal.
const PUBLIC_HEADERS: [&str; 3] = ["origin", "host", "user-agent"];

impl Secrets {
    fn note(&self, secret: &str) {
        let secret = secret.trim();
        let known = &mut self.lock().lasting;
        if secret.len() >= MIN_LEN && !known.iter().any(|other| other == secret) {
            known.push(secret.to_owned());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a secret that was made for one dial.
    pub(crate) fn note_fleeting(&self, secret: &str) {
        let secret = secret.trim();
        if secret.len() < MIN_LEN {
            return;
        }
        let known = &mut self.lock().fleeting;
        // One that is still in use is the newest again.
        let secret = match known.iter().position(|other| other == secret) {
            Some(at) => known.remove(at).unwrap_or_default(),
            None => secret.to_owned(),
        };
        if known.len() >= MAX_FLEETING {
            known.pop_front();
        }
        known.push_back(secret);
    }

    /// Notes the user info of a URL that was made for one dial, and the values of its query.
    pub(crate) fn note_fleeting_url(&self, url: &str) {
        self.note_fleeting(url);
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let values = query.split('&').filter_map(|pair| pair.split_once('='));
        values.for_each(|(_, value)| self.note_fleeting(value));
        if let Some(user_info) = user_info(url) {
            let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
            self.note_fleeting(user);
            self.note_fleeting(password);
            self.note_fleeting(&STANDARD.encode(user_info));
        }
    }

    /// Notes the value of a header line, also without the scheme of credentials before it.
    pub(crate) fn note_header(&self, name: &str, value: &str) {
        if PUBLIC_HEADERS.iter().any(|public| public.eq_ignore_ascii_case(name)) {
            return;
        }
        match name.eq_ignore_ascii_case("cookie") {
            true => self.note_cookies(value),
            false => {
                self.note(value);
                self.note(value.split_once(' ').map_or("", |(_, value)| value));
            }
        }
    }

    /// Notes the values of `name=value; other=value`.
    pub(crate) fn note_cookies(&self, cookies: &str) {
        self.note(cookies);
        let values = cookies.split(';').filter_map(|pair| pair.split_once('='));
        values.for_each(|(_, value)| self.note(value));
    }

    /// Notes a password, also as the credentials that carry it.
    pub(crate) fn note_basic(&self, user: &str, password: &str) {
        self.note(password);
        self.note(&STANDARD.encode(format!("{user}:{password}")));
    }

    /// Notes a token.
    pub(crate) fn note_token(&self, token: &str) {
        self.note(token);
    }

    /// Notes the user info of a URL, if it has any.
    pub(crate) fn note_url(&self, url: &str) {
        if let Some(user_info) = user_info(url) {
            let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
            self.note_basic(user, password);
            self.note_basic(&decoded(user), &decoded(password));
        }
    }

    /// Replaces each secret in a text by `***`.
    pub(crate) fn hide(&self, text: &str) -> String {
        let known = self.lock();
        let mut secrets: Vec<&String> = known.lasting.iter().chain(&known.fleeting).collect();
        // A secret may be part of a longer one, which is replaced first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }
}

/// Returns the part of a URL before the host, if it has one.
fn user_info(url: &str) -> Option<&str> {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map(|(user_info, _)| user_info)
}

/// Decodes `%41`, lossily.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let hex = behind.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_in_each_form_in_which_it_was_sent() {
        let secrets = Secrets::default();
        secrets.note_header("Authorization", "Bearer hunter1");
        secrets.note_header("X-Key", "hunter2");
        secrets.note_header("Origin", "http://hunter3");
        secrets.note_header("Cookie", "id=hunter4; b=12345;c=1");
        secrets.note_basic("me", "hunter5");
        secrets.note_url("wss://me:hunter%36@h/me:hunter7@x");
        secrets.note_header("X-Mode", "1");
        let basic = |pair: &str| STANDARD.encode(pair);
        for secret in
            ["Bearer hunter1", "hunter2", "hunter4", "12345", "hunter5", "hunter6", "hunter%36"]
        {
            assert_eq!(secrets.hide(&format!("1 {secret}\"!")), "1 ***\"!", "{secret}");
        }
        assert_eq!(secrets.hide(&basic("me:hunter5")), "***");
        assert_eq!(secrets.hide(&basic("me:hunter6")), "***");
        assert_eq!(secrets.hide("Bearer: hunter1"), "Bearer: ***");
        assert_eq!(secrets.hide("http://hunter3 hunter7"), "http://hunter3 hunter7");
    }

    #[test]
    fn of_the_secrets_of_single_dials_those_in_use_are_hidden() {
        let secrets = Secrets::default();
        for dial in 0..2 * MAX_FLEETING {
            secrets.note_fleeting("of all dials");
            secrets.note_fleeting(&format!("of dial {dial:05}"));
        }
        let newest = format!("of dial {:05}", 2 * MAX_FLEETING - 1);
        assert_eq!(secrets.hide(&format!("of all dials, {newest}")), "***, ***");
        assert_eq!(secrets.hide("of dial 00000"), "of dial 00000");
    }
}
