//! The name of a message and of each of its envelopes.

use std::fmt;

use crate::UnixMs;

/// 16 bytes: 48 bits of acceptance time in ms, 64 random bits, 16 bits of envelope index. So ids sort by
/// time, and the envelopes of one message differ only in the last two bytes. Shown as 26 characters of
/// Crockford's base 32, as a ULID is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId([u8; 16]);

/// The text is not 26 characters of Crockford's base 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a queue id is 26 letters and digits, such as 01JDCMZ5P3W7Y2M4Q8R6T0A000")]
pub struct QueueIdError;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl QueueId {
    /// The id of envelope `index` of a message accepted at `accepted`, told apart by `random`.
    #[must_use]
    pub fn new(accepted: UnixMs, random: u64, index: u16) -> Self {
        let time = u128::from(accepted.0 & 0xffff_ffff_ffff) << 80;
        Self((time | u128::from(random) << 16 | u128::from(index)).to_be_bytes())
    }

    /// The same message's envelope `index`.
    #[must_use]
    pub fn envelope(self, index: u16) -> Self {
        let mut bytes = self.0;
        bytes[14..].copy_from_slice(&index.to_be_bytes());
        Self(bytes)
    }

    /// The message's id: that of its first envelope.
    #[must_use]
    pub fn message(self) -> Self {
        self.envelope(0)
    }

    /// The id of a report on this envelope after `attempts` attempts: the same whenever it is made, and another
    /// message's for another envelope, number of attempts or `nth`, which tells apart what is reported after one
    /// attempt. Its time is that of the original.
    #[must_use]
    pub fn report(self, attempts: u32, nth: u16) -> Self {
        // A bijection on 64 bits (splitmix64's): ids that differ stay different.
        let mix = |mut x: u64| {
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        };
        let id = u128::from_be_bytes(self.0);
        let index = u64::from(u16::from_be_bytes([self.0[14], self.0[15]]));
        let own = u64::from(attempts) << 32 | u64::from(nth) << 16 | index;
        Self::new(self.accepted(), mix((id >> 16) as u64 ^ mix(own.wrapping_add(0x9e37_79b9_7f4a_7c15))), 0)
    }

    /// When the message was accepted.
    #[must_use]
    pub fn accepted(self) -> UnixMs {
        UnixMs((u128::from_be_bytes(self.0) >> 80) as u64)
    }

    /// The bytes, big-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// From the bytes of [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Reads the 26-character form, in any case.
    pub fn parse(text: &str) -> Result<Self, QueueIdError> {
        if text.len() != 26 {
            return Err(QueueIdError);
        }
        let mut value: u128 = 0;
        for (i, c) in text.bytes().enumerate() {
            let upper = c.to_ascii_uppercase();
            let digit = ALPHABET.iter().position(|a| *a == upper).ok_or(QueueIdError)? as u128;
            if i == 0 && digit > 7 {
                return Err(QueueIdError);
            }
            value = value << 5 | digit;
        }
        Ok(Self(value.to_be_bytes()))
    }
}

impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = u128::from_be_bytes(self.0);
        let mut text = [0u8; 26];
        for (i, c) in text.iter_mut().enumerate() {
            *c = ALPHABET[(value >> (125 - 5 * i) & 31) as usize];
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for QueueId {
    type Err = QueueIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for (ms, random, index) in [(0, 0, 0), (1_732_393_200_123, u64::MAX, 7), ((1 << 48) - 1, 42, u16::MAX)] {
            let id = QueueId::new(UnixMs(ms), random, index);
            assert_eq!(QueueId::parse(&id.to_string()).unwrap(), id);
            assert_eq!(QueueId::parse(&id.to_string().to_lowercase()).unwrap(), id);
            assert_eq!(id.accepted(), UnixMs(ms));
            assert_eq!(id.message().envelope(index), id);
        }
    }

    #[test]
    fn reports_have_ids_of_their_own() {
        let id = QueueId::new(UnixMs(1_732_393_200_123), 42, 0);
        let mut seen = std::collections::HashSet::from([id]);
        for (original, attempts, nth) in
            [(id, 1, 0), (id, 1, 1), (id, 2, 0), (id.envelope(1), 1, 0), (id.envelope(1), 2, 0)]
        {
            let report = original.report(attempts, nth);
            assert_eq!(report, original.report(attempts, nth));
            assert_eq!(report, report.message());
            assert!(seen.insert(report), "{attempts} {nth}");
        }
    }

    #[test]
    fn sorts_by_time_and_refuses_other_text() {
        assert!(QueueId::new(UnixMs(1), u64::MAX, 9).to_string() < QueueId::new(UnixMs(2), 0, 0).to_string());
        for text in ["", "short", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "UUUUUUUUUUUUUUUUUUUUUUUUUU"] {
            assert_eq!(QueueId::parse(text), Err(QueueIdError), "{text}");
        }
    }
}
