//! Sign-In with Ethereum (EIP-4361): the message that a wallet signs, read and checked.
//!
//! The domain is compared with those of the network's settings: a page elsewhere that has its visitor
//! sign in gets a message for its own domain, which is worth nothing here.

use alloy_primitives::{Address, B256, keccak256};
use types::Millis;

/// Longest message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;

/// What a message says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) domain: &'a str,
    pub(crate) account: Address,
    pub(crate) chain_id: u64,
    pub(crate) nonce: &'a str,
    pub(crate) not_before: Option<Millis>,
    pub(crate) expiration: Option<Millis>,
}

/// What is wrong with a message.
pub(crate) type Wrong = &'static str;

impl<'a> Message<'a> {
    /// Reads the text of EIP-4361; its fields stand in a fixed order.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Wrong> {
        if text.len() > MESSAGE_BYTES_MAX {
            return Err("the message is too long");
        }
        let mut lines = text.split('\n');
        let mut line = || lines.next().ok_or("the message ends too early");
        let domain = line()?
            .strip_suffix(" wants you to sign in with your Ethereum account:")
            .ok_or("the first line is not that of EIP-4361")?;
        let domain = domain.split_once("://").map_or(domain, |(_, rest)| rest);
        let account = line()?
            .strip_prefix("0x")
            .and_then(|digits| digits.parse().ok())
            .ok_or("the second line is not an address")?;
        if !line()?.is_empty() {
            return Err("an empty line follows the address");
        }
        // An optional statement, and an empty line after it.
        let mut next = line()?;
        if !next.is_empty() && !next.starts_with("URI: ") {
            if !line()?.is_empty() {
                return Err("an empty line follows the statement");
            }
            next = line()?;
        } else if next.is_empty() {
            next = line()?;
        }
        next.strip_prefix("URI: ").ok_or("no URI")?;
        if line()? != "Version: 1" {
            return Err("no version 1");
        }
        let chain_id = line()?
            .strip_prefix("Chain ID: ")
            .and_then(|digits| digits.parse().ok())
            .ok_or("no chain id")?;
        let nonce = line()?.strip_prefix("Nonce: ").ok_or("no nonce")?;
        line()?
            .strip_prefix("Issued At: ")
            .and_then(moment)
            .ok_or("no time of issue")?;
        let mut message = Self {
            domain,
            account,
            chain_id,
            nonce,
            not_before: None,
            expiration: None,
        };
        for line in lines {
            if let Some(text) = line.strip_prefix("Expiration Time: ") {
                message.expiration = Some(moment(text).ok_or("the expiration is not a time")?);
            } else if let Some(text) = line.strip_prefix("Not Before: ") {
                message.not_before = Some(moment(text).ok_or("not-before is not a time")?);
            } else if line == "Resources:" {
                break;
            } else if !line.starts_with("Request ID: ") {
                return Err("a line that EIP-4361 does not know");
            }
        }
        Ok(message)
    }
}

/// What `personal_sign` signs (EIP-191, version 0x45).
pub(crate) fn signing_hash(text: &str) -> B256 {
    let head = format!("\x19Ethereum Signed Message:\n{}", text.len());
    keccak256([head.as_bytes(), text.as_bytes()].concat())
}

/// A time in RFC 3339's form, such as `2026-11-20T19:30:00.000Z`.
fn moment(text: &str) -> Option<Millis> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0i64, |sum, digit| {
            digit
                .is_ascii_digit()
                .then(|| sum * 10 + i64::from(digit - b'0'))
        })
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| bytes.get(*at) != Some(mark)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let ranges = [
        (month, 1, 12),
        (day, 1, 31),
        (hour, 0, 23),
        (minute, 0, 59),
        (second, 0, 60),
    ];
    if ranges.iter().any(|(n, least, most)| n < least || n > most) {
        return None;
    }
    let mut rest = &text[19..];
    let mut millis = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || digits > 9 {
            return None;
        }
        let text = format!("{:0<3}", &fraction[..digits]);
        millis = text[..3].parse().ok()?;
        rest = &fraction[digits..];
    }
    let offset = match rest.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), a, b, b':', c, d]
            if [a, b, c, d].iter().all(|x| x.is_ascii_digit()) =>
        {
            let of = |x: &u8, y: &u8| i64::from(x - b'0') * 10 + i64::from(y - b'0');
            let minutes = of(a, b) * 60 + of(c, d);
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + (minute - offset) * 60 + second;
    u64::try_from(seconds * 1000 + millis).ok().map(Millis)
}

/// Days since 1970-01-01 in the Gregorian calendar (Howard Hinnant's `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of so many days since 1970-01-01 (Howard Hinnant's `civil_from_days`).
pub(super) fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let of_era_year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * of_era_year + of_era_year / 4 - of_era_year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (of_era_year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the library `siwe` and viem write it.
    const MESSAGE: &str = "example.com wants you to sign in with your Ethereum account:\n\
        0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\n\nSign in to the orders of Contoso.\n\n\
        URI: https://example.com/login\nVersion: 1\nChain ID: 31337\nNonce: abcdef0123456789\n\
        Issued At: 2026-11-20T19:30:00.000Z\nExpiration Time: 2026-11-20T20:30:00Z\n\
        Not Before: 2026-11-20T21:30:00+02:00\nRequest ID: 7\nResources:\n- https://example.com/x";

    #[test]
    fn a_message_of_the_standard_is_read() {
        let message = Message::parse(MESSAGE).expect("well formed");
        assert_eq!(
            (message.domain, message.chain_id, message.nonce),
            ("example.com", 31337, "abcdef0123456789")
        );
        assert_eq!(message.account, crate::dev::ACCOUNTS[0].address);
        assert_eq!(message.not_before, Some(Millis(1_795_203_000_000)));
        assert_eq!(message.expiration, Some(Millis(1_795_206_600_000)));
        let bare = MESSAGE.replace("Sign in to the orders of Contoso.\n\n", "");
        assert!(Message::parse(&bare).is_ok());
        let empty = MESSAGE.replace("Sign in to the orders of Contoso.\n\n", "\n");
        assert!(Message::parse(&empty).is_ok());
        let scheme = format!("https://{MESSAGE}");
        assert_eq!(
            Message::parse(&scheme)
                .expect("a scheme may stand in front")
                .domain,
            "example.com"
        );
    }

    #[test]
    fn what_is_not_the_standard_is_refused() {
        for (from, to) in [
            ("Version: 1", "Version: 2"),
            ("Chain ID: 31337", "Chain ID: x"),
            ("Nonce: ", "Nonces: "),
            ("0xf39F", "0xf3"),
            ("Issued At: 2026", "Issued At: 26"),
            ("Request ID: 7", "Nonce: other"),
            ("T20:30:00Z", "T25:30:00Z"),
        ] {
            assert!(Message::parse(&MESSAGE.replace(from, to)).is_err(), "{to}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".*", cut in 0usize..400, insert in ".{0,8}") {
            let _ = (Message::parse(&text), moment(&text));
            if MESSAGE.is_char_boundary(cut) {
                let (head, tail) = MESSAGE.split_at(cut.min(MESSAGE.len()));
                let _ = Message::parse(&format!("{head}{insert}{tail}"));
            }
        }
    }

    #[test]
    fn calendars_agree() {
        for n in (0..80_000).step_by(17) {
            let (year, month, day) = civil(n);
            assert_eq!(
                moment(&format!("{year:04}-{month:02}-{day:02}T00:00:00Z")),
                Some(Millis(n * 86_400_000))
            );
        }
    }

    #[test]
    fn the_hash_is_that_of_personal_sign() {
        assert_eq!(
            signing_hash("hello world").to_string(),
            "0xd9eba16ed0ecae432b71fe008c98cc872bb4cc214d3220a36f365326cf807d68"
        );
    }
}
