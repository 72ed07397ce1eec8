//! `presence`, `presence_stats` and `history`: for those who may watch a channel, where it offers them. Who watches is
//! known of this node.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use diesel_async::AsyncPgConnection;

use super::connection::{Connection, Session};
use super::protocol::{
    Answer, ClientInfo, ErrorReply, HistoryRequest, HistoryResult, PresenceResult, PresenceStatsResult, ProtocolError,
    Publication,
};
use crate::app::{App, For};
use crate::auth::access::Standing;
use crate::error::{Code, Error, Result};
use crate::events::{Access, log};
use crate::ids::GymId;

/// Answers `presence`.
pub(super) async fn presence(app: &App, connection: &Connection, session: &Session, channel: &str) -> Answer {
    let presence = |watchers: Vec<Arc<ClientInfo>>| {
        Answer::Presence(PresenceResult {
            presence: watchers.iter().map(|w| (w.client.clone(), (**w).clone())).collect(),
        })
    };
    watchers(app, connection, session, channel)
        .await
        .map_or_else(Answer::Error, presence)
}

/// Answers `presence_stats`.
pub(super) async fn presence_stats(app: &App, connection: &Connection, session: &Session, channel: &str) -> Answer {
    let stats = |watchers: Vec<Arc<ClientInfo>>| {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let users: HashSet<&str> = watchers.iter().map(|w| w.user.as_str()).collect();
        Answer::PresenceStats(PresenceStatsResult {
            num_clients: count(watchers.len()),
            num_users: count(users.len()),
        })
    };
    watchers(app, connection, session, channel)
        .await
        .map_or_else(Answer::Error, stats)
}

async fn watchers(
    app: &App,
    connection: &Connection,
    session: &Session,
    channel: &str,
) -> Result<Vec<Arc<ClientInfo>>, ErrorReply> {
    if !(connection.hub().table().offers)(channel).presence {
        return Err(ProtocolError::NotAvailable.into());
    }
    let (gym, ()) = permitted(app, connection, session, channel, async |_, _| Ok(())).await?;
    let mut seen = BTreeSet::new();
    let mut watchers = connection.hub().registry().watchers(gym, &channel.into());
    watchers.retain(|w| seen.insert(w.client.clone()));
    Ok(watchers)
}

/// Answers `history`.
pub(super) async fn history(app: &App, connection: &Connection, session: &Session, request: &HistoryRequest) -> Answer {
    let channel = request.channel.as_str();
    let bound = (connection.hub().table().offers)(channel).history;
    if bound == 0 {
        return Answer::Error(ProtocolError::NotAvailable.into());
    }
    let read = permitted(app, connection, session, channel, async |conn, gym| {
        let head = log::head(conn, gym).await?.ok_or_else(|| Error::not_found("gym"))?;
        let tail = match request.limit {
            0 => Vec::new(),
            _ => log::channel_tail(conn, gym, channel, bound).await?,
        };
        Ok((head, tail))
    });
    let (head, tail) = match read.await {
        Ok((_, read)) => read,
        Err(refused) => return Answer::Error(refused),
    };
    let since = request.since.as_ref();
    if since.is_some_and(|s| !s.epoch.is_empty() && *s.epoch != *head.epoch) {
        return Answer::Error(ProtocolError::Unrecoverable.into());
    }
    Answer::History(HistoryResult {
        publications: page(tail, request),
        epoch: head.epoch.to_string(),
        offset: head.seq,
    })
}

/// What a request asks for, of publications in order.
fn page(publications: Vec<(u64, Bytes)>, request: &HistoryRequest) -> Vec<Publication> {
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    let since = request.since.as_ref().map(|s| s.offset);
    let wanted = |(offset, _): &(u64, Bytes)| {
        since.is_none_or(|since| {
            if request.reverse {
                *offset < since
            } else {
                *offset > since
            }
        })
    };
    let mut page: Vec<_> = publications.into_iter().filter(wanted).collect();
    if request.reverse {
        page.reverse();
    }
    page.truncate(limit);
    page.into_iter()
        .map(|(offset, data)| Publication { data, offset })
        .collect()
}

/// Reads something of a channel, in one snapshot with the check that the caller may watch it.
async fn permitted<T>(
    app: &App,
    connection: &Connection,
    session: &Session,
    channel: &str,
    read: impl AsyncFnOnce(&mut AsyncPgConnection, GymId) -> Result<T>,
) -> Result<(GymId, T), ErrorReply> {
    let (table, caller) = (connection.hub().table(), &session.caller);
    let failed = |error: Error| {
        error.log();
        ErrorReply::of(&error, connection.lang)
    };
    let Some(gym) = (table.place)(app, caller, channel).await.map_err(failed)? else {
        return Err(ProtocolError::UnknownChannel.into());
    };
    let read = app.read(For::gym(gym), async |conn| {
        let now = app.clock.now();
        if (table.standing)(conn, caller, now).await? != Standing::Good {
            return Err(Error::new(Code::SessionEnded));
        }
        if (table.authorise)(conn, caller, channel, now).await? == Access::Refused {
            return Err(Error::forbidden());
        }
        read(conn, gym).await
    });
    Ok((gym, read.await.map_err(failed)?))
}

#[cfg(test)]
mod tests {
    use super::super::protocol::commands::StreamPosition;
    use super::*;

    fn offsets(limit: i32, since: Option<u64>, reverse: bool) -> Vec<u64> {
        let request = HistoryRequest {
            channel: "c".into(),
            limit,
            since: since.map(|offset| StreamPosition {
                offset,
                epoch: String::new(),
            }),
            reverse,
        };
        let stored = (1..=5).map(|n| (n, Bytes::from_static(b"{}"))).collect();
        page(stored, &request).into_iter().map(|p| p.offset).collect()
    }

    #[test]
    fn history_is_read_from_either_end_and_from_a_position() {
        assert_eq!(offsets(-1, None, false), [1, 2, 3, 4, 5]);
        assert_eq!(offsets(2, None, false), [1, 2]);
        assert_eq!(offsets(2, Some(2), false), [3, 4]);
        assert_eq!(offsets(-1, None, true), [5, 4, 3, 2, 1]);
        assert_eq!(offsets(2, Some(4), true), [3, 2]);
        assert!(offsets(0, None, false).is_empty());
        assert!(offsets(-1, Some(5), false).is_empty());
    }
}
