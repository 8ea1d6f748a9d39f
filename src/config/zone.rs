//! `time_zone:` — where days and months begin.

use jiff::tz::TimeZone;
use serde::Deserialize;

/// A time zone by its IANA name.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Zone(pub(super) TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl TryFrom<String> for Zone {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        // A name becomes a path below the system's database of time zones.
        let plain = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+'))
        };
        let zone = if name.split('/').all(plain) { TimeZone::get(&name).ok() } else { None };
        zone.map(Self).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            format!(
                "time_zone: '{shown}' is not a time zone of this system; write UTC or a name such as Europe/Berlin (the package tzdata brings them)"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_and_paths_are_not() {
        for name in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"] {
            assert!(Zone::try_from(name.to_owned()).is_ok(), "{name}");
        }
        for name in ["", "Berlin", "../../etc/passwd", "/usr/share/zoneinfo/UTC", "Europe//Berlin", "Europe/Ber\nlin", "CEST!"] {
            let message = Zone::try_from(name.to_owned()).unwrap_err();
            assert!(message.contains("Europe/Berlin"), "{message}");
        }
    }
}
