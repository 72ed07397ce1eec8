//! The JSON codec: one command or reply per line.

use super::{Answer, Command, Event, Push, Reply, Undecodable, Unencodable};

/// The server's ping message.
pub const PING: &[u8] = b"{}";

/// Decodes the commands of a frame, in order.
pub fn decode(frame: &[u8]) -> Result<Vec<Command>, Undecodable> {
    let text = std::str::from_utf8(frame).map_err(|_| Undecodable)?;
    text.split('\n')
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).map_err(|_| Undecodable))
        .collect()
}

/// Encodes a reply or a push.
pub fn encode(reply: &Reply) -> Result<Vec<u8>, Unencodable> {
    if let Some(Answer::Push(push)) = &reply.answer
        && let Some(line) = publication(push)
    {
        return Ok(line);
    }
    serde_json::to_vec(reply).map_err(|_| Unencodable)
}

/// Encodes a publication without checking that its payload is JSON: the log holds nothing else.
fn publication(push: &Push) -> Option<Vec<u8>> {
    let Some(Event::Publication(publication)) = &push.event else {
        return None;
    };
    let channel = serde_json::to_string(&push.channel).ok()?;
    let mut out = Vec::with_capacity(publication.data.len() + channel.len() + 64);
    out.extend_from_slice(br#"{"push":{"channel":"#);
    out.extend_from_slice(channel.as_bytes());
    out.extend_from_slice(br#","pub":{"data":"#);
    out.extend_from_slice(&publication.data);
    if publication.offset > 0 {
        out.extend_from_slice(br#","offset":"#);
        out.extend_from_slice(publication.offset.to_string().as_bytes());
    }
    out.extend_from_slice(b"}}}");
    Some(out)
}
