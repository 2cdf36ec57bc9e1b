//! Close codes of actix-http, for those who relay from or to its server side.

use actix_http::ws;

use crate::proto::close::CloseCode;

/// The code of actix-http, which is that of actix-web and actix-ws.
impl From<ws::CloseCode> for CloseCode {
    fn from(code: ws::CloseCode) -> Self {
        u16::from(code).into()
    }
}

/// The code of actix-http, which is that of actix-web and actix-ws. Nothing is checked: a code that must not be on
/// the wire, as 1006, is not [sendable](CloseCode::is_sendable).
impl From<CloseCode> for ws::CloseCode {
    fn from(code: CloseCode) -> Self {
        code.value().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_from_actix_http_as_it_went() {
        for code in 0..=u16::MAX {
            let there = ws::CloseCode::from(CloseCode::from(code));
            assert_eq!(u16::from(CloseCode::from(there)), code, "{there:?}");
        }
        assert_eq!(ws::CloseCode::from(CloseCode::GOING_AWAY), ws::CloseCode::Away);
        assert_eq!(CloseCode::from(ws::CloseCode::Policy), CloseCode::POLICY_VIOLATION);
    }
}
