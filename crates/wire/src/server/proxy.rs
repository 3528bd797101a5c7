//! The PROXY protocol, versions 1 and 2: what a load balancer says about the client, before the client speaks.
//!
//! Pure: reads octets, gives what they mean. Everything that is not exactly the protocol is an error, since the
//! header decides whose address is believed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Octets of a header at most: a version 1 line has 107, a version 2 header with TLVs is bounded by us.
pub const MAX_HEADER: usize = 4096;

/// A version 1 line at most, CRLF included.
const MAX_LINE: usize = 107;
const V1_TAG: &[u8] = b"PROXY ";
const V2_TAG: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// A client's connection, from this address.
    Proxied(SocketAddr),
    /// The load balancer's own connection (`LOCAL`, a health check), or one whose client it does not know.
    Own,
}

/// Why the octets are not a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Neither version's beginning.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// Longer than allowed.
    #[error("the PROXY header is longer than {MAX_HEADER} octets, or its line than {MAX_LINE}")]
    TooLong,
    /// A field is wrong.
    #[error("the PROXY header is malformed: {0}")]
    Malformed(&'static str),
}

/// Reads the header at the start of `input`: what it says and its length, or `None` when more octets are needed.
pub fn parse(input: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    if begins(input, V2_TAG) {
        return parse_v2(input);
    }
    if begins(input, V1_TAG) {
        return parse_v1(input);
    }
    Err(ProxyError::Missing)
}

/// Whether `input` begins with `tag`, or may do so when more arrives.
fn begins(input: &[u8], tag: &[u8]) -> bool {
    let n = input.len().min(tag.len());
    input[..n] == tag[..n]
}

fn parse_v1(input: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let window = &input[..input.len().min(MAX_LINE)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() == MAX_LINE { Err(ProxyError::TooLong) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&window[..end]).map_err(|_| ProxyError::Malformed("not ASCII"))?;
    let mut words = line.split(' ').skip(1);
    let header = match words.next() {
        Some("UNKNOWN") => return Ok(Some((Header::Own, end + 2))),
        Some("TCP4") => v1_source(words, |ip| ip.parse::<Ipv4Addr>().ok().map(IpAddr::V4))?,
        Some("TCP6") => v1_source(words, |ip| ip.parse::<Ipv6Addr>().ok().map(IpAddr::V6))?,
        Some(_) | None => return Err(ProxyError::Malformed("the protocol is not TCP4, TCP6 or UNKNOWN")),
    };
    Ok(Some((header, end + 2)))
}

/// Source address, destination address, source port, destination port, and nothing more.
fn v1_source<'a>(
    mut words: impl Iterator<Item = &'a str>,
    ip: impl Fn(&str) -> Option<IpAddr>,
) -> Result<Header, ProxyError> {
    let mut address = || words.next().and_then(&ip).ok_or(ProxyError::Malformed("an address"));
    let (source, _destination) = (address()?, address()?);
    let mut port = || words.next().and_then(v1_port).ok_or(ProxyError::Malformed("a port"));
    let (source_port, _destination_port) = (port()?, port()?);
    if words.next().is_some() {
        return Err(ProxyError::Malformed("too many words"));
    }
    Ok(Header::Proxied(SocketAddr::new(source, source_port)))
}

/// Decimal digits without sign or leading zeros.
fn v1_port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|b| b.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    if plain { word.parse().ok() } else { None }
}

fn parse_v2(input: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    let Some(fixed) = input.get(V2_TAG.len()..V2_FIXED) else {
        return Ok(None);
    };
    let (version, command, family) = (fixed[0] >> 4, fixed[0] & 0xf, fixed[1]);
    if version != 2 {
        return Err(ProxyError::Malformed("the version"));
    }
    if command > 1 {
        return Err(ProxyError::Malformed("the command is neither LOCAL nor PROXY"));
    }
    let len = V2_FIXED + usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if len > MAX_HEADER {
        return Err(ProxyError::TooLong);
    }
    let Some(block) = input.get(V2_FIXED..len) else {
        return Ok(None);
    };
    let header = if command == 0 { Header::Own } else { v2_source(family, block)? };
    Ok(Some((header, len)))
}

fn v2_source(family: u8, block: &[u8]) -> Result<Header, ProxyError> {
    const SHORT: ProxyError = ProxyError::Malformed("the address block is too short");
    match family {
        // UNSPEC: the balancer does not know the client. UNIX sockets have no address that we could use.
        0x00 | 0x31 => Ok(Header::Own),
        0x11 => {
            let Some((source, rest)) = block.get(..12).and_then(|b| b.split_first_chunk::<4>()) else {
                return Err(SHORT);
            };
            let port = u16::from_be_bytes([rest[4], rest[5]]);
            Ok(Header::Proxied(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(*source)), port)))
        }
        0x21 => {
            let Some((source, rest)) = block.get(..36).and_then(|b| b.split_first_chunk::<16>()) else {
                return Err(SHORT);
            };
            let port = u16::from_be_bytes([rest[16], rest[17]]);
            Ok(Header::Proxied(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(*source)), port)))
        }
        _ => Err(ProxyError::Malformed("the family is not TCP over IPv4 or IPv6")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut out = V2_TAG.to_vec();
        out.extend([version_command, family]);
        out.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
        out.extend(block);
        out
    }

    fn v4_block() -> Vec<u8> {
        [&[192, 0, 2, 7][..], &[198, 51, 100, 1], &4567_u16.to_be_bytes(), &25_u16.to_be_bytes()].concat()
    }

    fn v6_block() -> Vec<u8> {
        let (source, destination) = (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7), Ipv6Addr::LOCALHOST);
        let ports = [4567_u16.to_be_bytes(), 25_u16.to_be_bytes()].concat();
        [&source.octets()[..], &destination.octets(), &ports].concat()
    }

    fn proxied(address: &str) -> Header {
        Header::Proxied(address.parse().unwrap())
    }

    #[test]
    fn reads_both_versions_at_every_split() {
        let mut with_tlv = v4_block();
        with_tlv.extend([0x04, 0, 3, 1, 2, 3]);
        for (input, expect) in [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 4567 25\r\n".to_vec(), proxied("192.0.2.7:4567")),
            (b"PROXY TCP6 2001:db8::7 ::1 4567 25\r\n".to_vec(), proxied("[2001:db8::7]:4567")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Header::Own),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), Header::Own),
            (v2(0x21, 0x11, &v4_block()), proxied("192.0.2.7:4567")),
            (v2(0x21, 0x11, &with_tlv), proxied("192.0.2.7:4567")),
            (v2(0x21, 0x21, &v6_block()), proxied("[2001:db8::7]:4567")),
            (v2(0x20, 0x00, &[]), Header::Own),
            (v2(0x20, 0x11, &v4_block()), Header::Own),
            (v2(0x21, 0x00, &[]), Header::Own),
        ] {
            for cut in 0..input.len() {
                assert_eq!(parse(&input[..cut]), Ok(None), "{input:?} cut at {cut}");
            }
            let mut followed = input.clone();
            followed.extend(b"EHLO x\r\n");
            assert_eq!(parse(&followed), Ok(Some((expect, input.len()))), "{input:?}");
        }
    }

    #[test]
    fn refuses_everything_else() {
        let long_line = [V1_TAG, &b"UNKNOWN "[..], &[b'x'; 120]].concat();
        let mut long_v2 = v2(0x21, 0x11, &v4_block());
        long_v2[14..16].copy_from_slice(&5000_u16.to_be_bytes());
        for input in [
            b"EHLO client\r\n".to_vec(),
            b"\x16\x03\x01".to_vec(),
            b"proxy TCP4 192.0.2.7 198.51.100.1 4567 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4567\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4567 25 9\r\n".to_vec(),
            b"PROXY TCP4  192.0.2.7 198.51.100.1 4567 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 +456 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 0456 25\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 4567 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.777 198.51.100.1 4567 25\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.7 198.51.100.1 4567 25\r\n".to_vec(),
            b"PROXY \r\n".to_vec(),
            long_line,
            long_v2,
            v2(0x11, 0x11, &v4_block()),
            v2(0x22, 0x11, &v4_block()),
            v2(0x21, 0x12, &v4_block()),
            v2(0x21, 0x11, &v4_block()[..11]),
            v2(0x21, 0x21, &v6_block()[..35]),
        ] {
            assert!(parse(&input).is_err(), "{:?}", String::from_utf8_lossy(&input));
        }
    }
}
