//! What went wrong with a target, in words for the log: what, and how to mend it.
use crate::core::sink::http::Trouble;
use crate::core::sink::http::bulk::Item;
use crate::tls::TlsError;

/// What it means that the target closes the connection during the TLS handshake.
pub(super) const CLOSED_IN_TLS: &str =
    "closed the connection during the TLS handshake: does that port speak TLS? check --sink";

/// A connect that came to nothing, by the error number.
pub(super) fn dial(code: i32) -> (Trouble, String) {
    match code {
        libc::ECONNREFUSED => (
            Trouble::Refused,
            "refuses the connection: is it running, and does it listen there? check --sink".into(),
        ),
        libc::ETIMEDOUT => (Trouble::Timeout, "does not answer; check --sink".into()),
        libc::ECONNRESET => (Trouble::Closed, "resets the connection".into()),
        code => {
            let error = std::io::Error::from_raw_os_error(code);
            (Trouble::System(code), format!("cannot be reached: {error}"))
        }
    }
}

/// TLS that is broken or not to be trusted.
pub(super) fn tls(error: &TlsError) -> (Trouble, String) {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error};
    let error = match error {
        TlsError::Stream(error) => return (Trouble::Protocol, format!("breaks TLS: {error}")),
        TlsError::Protocol(error) => error,
    };
    match error {
        // Another authority of the same name shows as a bad signature.
        Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => (
            Trouble::Certificate,
            "has a certificate of an authority that is not trusted; give it in http.tls_ca".into(),
        ),
        Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => (
            Trouble::Certificate,
            format!("has a certificate for another name: {error}; check --sink or http.tls_server_name"),
        ),
        Error::InvalidCertificate(_) => {
            (Trouble::Certificate, format!("has a certificate that is not valid: {error}"))
        }
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::AccessDenied,
        ) => (
            Trouble::Certificate,
            format!("does not take our certificate: {error}; check http.tls_cert and http.tls_key"),
        ),
        Error::AlertReceived(_) => (Trouble::Certificate, format!("refuses TLS: {error}")),
        Error::InvalidMessage(_) => {
            (Trouble::Protocol, "does not speak TLS on that port: is it http:// and not https://?".into())
        }
        _ => (Trouble::Protocol, format!("breaks TLS: {error}")),
    }
}

/// An answer that is no "taken", with how its body begins.
pub(super) fn answer(status: u16, excerpt: &[u8]) -> Option<String> {
    if (200..300).contains(&status) {
        return None;
    }
    let text = String::from_utf8_lossy(excerpt);
    let text: String =
        text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let mend = match status {
        300..=399 => "; give the address that it redirects to in --sink",
        401 | 407 => "; check http.header_file, http.user or http.token_file",
        403 => "; may we write there?",
        404 | 405 => "; check the path in --sink",
        _ => "",
    };
    let says = if text.is_empty() { String::new() } else { format!(": {text}") };
    Some(format!("answers {status}{mend}{says}"))
}

/// Verdicts of a `_bulk` that are not all "taken".
pub(super) fn items(statuses: Option<&[u16]>) -> Option<String> {
    let Some(statuses) = statuses else {
        return Some(
            "answers without a verdict for each event: does it speak _bulk? check http.preset".into(),
        );
    };
    let missing = |status: &&u16| Item::of(**status) != Item::Taken;
    let first = statuses.iter().find(missing)?;
    let count = statuses.iter().filter(missing).count();
    Some(format!(
        "does not take all events of a _bulk: {count} of {}, the first with {first}",
        statuses.len()
    ))
}
