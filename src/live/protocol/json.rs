//! The JSON codec: commands and replies a line each.

use super::{Command, Push, Reply};

/// Reads the commands of a frame, in order.
///
/// # Errors
/// The whole frame is refused where one line is not a command.
pub fn decode(frame: &str) -> Result<Vec<Command>, serde_json::Error> {
    frame
        .split('\n')
        .filter(|line| !line.trim().is_empty())
        .map(serde_json::from_str)
        .collect()
}

/// Writes a reply.
///
/// # Errors
/// Only for a payload that is not JSON, which would be a defect of ours.
pub fn encode_reply(reply: &Reply) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(reply)
}

/// Writes a push. Payloads are embedded as they are.
#[must_use]
pub fn encode_push(push: &Push<'_>) -> Vec<u8> {
    match push {
        Push::Publication { channel, data, offset } => {
            let mut out = Vec::with_capacity(data.len() + channel.len() + 64);
            out.extend_from_slice(br#"{"push":{"channel":""#);
            // Channel names are of ours: letters, digits, colons and dashes.
            out.extend_from_slice(channel.as_bytes());
            out.extend_from_slice(br#"","pub":{"data":"#);
            out.extend_from_slice(data);
            if *offset > 0 {
                out.extend_from_slice(br#","offset":"#);
                out.extend_from_slice(offset.to_string().as_bytes());
            }
            out.extend_from_slice(b"}}}");
            out
        }
        Push::Unsubscribe { channel, code, reason } => {
            format!(r#"{{"push":{{"channel":"{channel}","unsubscribe":{{"code":{code},"reason":"{reason}"}}}}}}"#)
                .into_bytes()
        }
    }
}

/// The server's ping.
pub const PING: &[u8] = b"{}";

#[cfg(test)]
mod tests {
    use super::super::{Answer, ConnectResult, Empty, Payload, RpcResult, SubscribeResult};
    use super::*;

    fn text(reply: &Reply) -> String {
        String::from_utf8(encode_reply(reply).expect("encoded")).expect("UTF-8")
    }

    #[test]
    fn reads_several_commands_of_a_frame() {
        let commands = decode(
            "{\"id\":1,\"connect\":{\"token\":\"t\",\"name\":\"js\",\"future\":1}}\n{\"id\":2,\"subscribe\":{\"channel\":\"plan:x\"}}\n{}",
        )
        .expect("commands");
        assert_eq!(commands[0].connect.as_ref().expect("connect").token, "t");
        assert_eq!(commands[1].subscribe.as_ref().expect("subscribe").channel, "plan:x");
        assert!(commands[2].is_pong());
        assert!(decode("{\"id\":").is_err());
    }

    #[test]
    fn empty_fields_are_left_out_and_empty_results_are_there() {
        assert_eq!(
            text(&Reply {
                id: 7,
                answer: Answer::Unsubscribe(Empty {})
            }),
            r#"{"id":7,"unsubscribe":{}}"#
        );
        let result = SubscribeResult {
            recoverable: true,
            epoch: "e".into(),
            ..Default::default()
        };
        assert_eq!(
            text(&Reply {
                id: 2,
                answer: Answer::Subscribe(result)
            }),
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"e"}}"#
        );
        let result = ConnectResult {
            client: "c".into(),
            version: "1",
            ping: 25,
            pong: true,
            ..Default::default()
        };
        assert_eq!(
            text(&Reply {
                id: 1,
                answer: Answer::Connect(result)
            }),
            r#"{"id":1,"connect":{"client":"c","version":"1","ping":25,"pong":true}}"#
        );
    }

    #[test]
    fn payloads_are_carried_to_the_byte() {
        let data = Payload(r#"{"b":1.50,"a":"é"}"#.into());
        assert_eq!(
            text(&Reply {
                id: 3,
                answer: Answer::Rpc(RpcResult { data: data.clone() })
            }),
            r#"{"id":3,"rpc":{"data":{"b":1.50,"a":"é"}}}"#
        );
        let push = Push::Publication {
            channel: "plan:x",
            data: &data.0,
            offset: 9,
        };
        assert_eq!(
            encode_push(&push),
            r#"{"push":{"channel":"plan:x","pub":{"data":{"b":1.50,"a":"é"},"offset":9}}}"#.as_bytes()
        );
    }
}
