//! `caBundle`: the authorities that a webhook's certificate may be signed by, in PEM.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// What is wrong with a bundle, in client-go's words. None is as good as a whole one.
pub(crate) fn problem(bundle: &Value) -> Option<&'static str> {
    const NO_BLOCK: &str = "unable to load root certificates: unable to parse bytes as PEM block";
    let bundle = bundle.as_str().filter(|bundle| !bundle.is_empty())?;
    let Ok(pem) = STANDARD.decode(bundle) else {
        return Some(NO_BLOCK);
    };
    let pem = String::from_utf8_lossy(&pem);
    let blocks = pem
        .split(BEGIN)
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(END)?.0));
    let mut found = false;
    for block in blocks {
        found = true;
        let inner: String = block.split_whitespace().collect();
        // A certificate is a sequence, whatever else.
        if !STANDARD.decode(inner).is_ok_and(|der| der.first() == Some(&0x30)) {
            return Some("unable to load root certificates: failed to parse certificate: x509: malformed certificate");
        }
    }
    (!found).then_some(NO_BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_holds_certificates_or_nothing() {
        let bundle = |pem: &str| Value::from(STANDARD.encode(pem));
        let whole = format!("# of the team\n{BEGIN}\nMAA=\n{END}\n");
        for good in [Value::Null, "".into(), bundle(&whole)] {
            assert_eq!(problem(&good), None);
        }
        for bad in [
            bundle("\n"),
            bundle(BEGIN),
            bundle(&whole.replace("MAA=", "AAAA")),
            "%".into(),
        ] {
            assert!(problem(&bad).is_some(), "{bad}");
        }
    }
}
