//! What is said and drawn.

use std::fmt::Write as _;

/// A message of 300 bytes that says who sent it as which, and when.
pub(crate) fn text(sender: usize, number: u64, at: u64) -> String {
    let mut text = format!("{sender}:{number}:{at} ");
    while text.len() < 300 {
        text.push_str("and so on ");
    }
    text.truncate(300);
    text
}

/// What [`text`] wrote, read in a delivered packet: sender, number, time.
pub(crate) fn read(packet: &str) -> Option<(usize, u64, u64)> {
    let start = packet.find(r#""message":""#)? + 11;
    let end = start + packet[start..].find(' ')?;
    let mut parts = packet[start..end].split(':');
    Some((
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
        parts.next()?.parse().ok()?,
    ))
}

/// An Excalidraw rectangle of about `bytes` bytes.
pub(crate) fn element(i: usize, version: u64, bytes: usize) -> String {
    let mut json = format!(
        r##"{{"id":"element-{i}","type":"rectangle","version":{version},"versionNonce":{},"isDeleted":false,"index":"a{i:05}V","x":{}.5,"y":{}.25,"width":120,"height":80,"angle":0,"strokeColor":"#1e1e1e","backgroundColor":"transparent","fillStyle":"solid","strokeWidth":2,"roughness":1,"opacity":100,"seed":{},"groupIds":[],"customData":{{"note":""##,
        version * 7 + 1,
        i % 1_000,
        i / 1_000,
        i + 1
    );
    while json.len() + 4 < bytes {
        json.push('x');
    }
    json.push_str(r#""}}"#);
    json
}

/// The payload of `whiteboard-change`.
pub(crate) fn change(room: &str, elements: &[String]) -> String {
    let mut payload = format!(r#"{{"roomId":"{room}","elements":["#);
    for (i, element) in elements.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        write!(payload, "{comma}{element}").unwrap();
    }
    payload.push_str("]}");
    payload
}

/// The payload of `chat:message`.
pub(crate) fn saying(room: &str, user: &str, text: &str) -> String {
    format!(r#"{{"roomId":"{room}","userId":"{user}","username":"{user}","message":"{text}"}}"#)
}
