//! `presence`, `presence_stats` and `history`, for sessions with the right to a channel that offers them. Presence
//! covers the subscribers of this node only.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use crate::backend::{self, Ask, Backend, Found, Kind, Location, Session, Standing, Want};
use crate::log::change::Head;
use crate::protocol::{
    Answer, ClientInfo, ErrorReply, HistoryRequest, HistoryResult, PresenceResult, PresenceStatsResult, ProtocolError,
    Publication,
};
use crate::session::connection::Connection;

/// Answers `presence`.
pub(crate) async fn presence(
    backend: &dyn Backend,
    connection: &Connection,
    session: &Session,
    channel: &str,
) -> Answer {
    let presence = |watchers: Vec<Arc<ClientInfo>>| {
        Answer::Presence(PresenceResult {
            presence: watchers.iter().map(|w| (w.client.clone(), (**w).clone())).collect(),
        })
    };
    watchers(backend, connection, session, channel)
        .await
        .map_or_else(Answer::Error, presence)
}

/// Answers `presence_stats`.
pub(crate) async fn presence_stats(
    backend: &dyn Backend,
    connection: &Connection,
    session: &Session,
    channel: &str,
) -> Answer {
    let stats = |watchers: Vec<Arc<ClientInfo>>| {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let users: HashSet<&str> = watchers.iter().map(|w| w.user.as_str()).collect();
        Answer::PresenceStats(PresenceStatsResult {
            num_clients: count(watchers.len()),
            num_users: count(users.len()),
        })
    };
    watchers(backend, connection, session, channel)
        .await
        .map_or_else(Answer::Error, stats)
}

async fn watchers(
    backend: &dyn Backend,
    connection: &Connection,
    session: &Session,
    channel: &str,
) -> Result<Vec<Arc<ClientInfo>>, ErrorReply> {
    let location = locate(backend, session, channel)?;
    if !location.offers.presence {
        return Err(ProtocolError::NotAvailable.into());
    }
    permitted(backend, connection, session, (location, channel), Want::Right).await?;
    let mut seen = BTreeSet::new();
    let mut watchers = connection.hub().registry().watchers(location.log, &channel.into());
    watchers.retain(|w| seen.insert(w.client.clone()));
    Ok(watchers)
}

/// Answers `history`.
pub(crate) async fn history(
    backend: &dyn Backend,
    connection: &Connection,
    session: &Session,
    request: &HistoryRequest,
) -> Answer {
    match read_history(backend, connection, session, request).await {
        Ok(history) => Answer::History(history),
        Err(refused) => Answer::Error(refused),
    }
}

async fn read_history(
    backend: &dyn Backend,
    connection: &Connection,
    session: &Session,
    request: &HistoryRequest,
) -> Result<HistoryResult, ErrorReply> {
    let channel = request.channel.as_str();
    let location = locate(backend, session, channel)?;
    let bound = location.offers.history;
    if bound == 0 {
        return Err(ProtocolError::NotAvailable.into());
    }
    let want = match request.limit {
        0 => Want::Tail(0),
        _ => Want::Tail(bound),
    };
    let (head, found) = permitted(backend, connection, session, (location, channel), want).await?;
    let (Some(head), Found::Tail(tail)) = (head, found) else {
        return Err(backend.failure(Kind::Other).logged(connection.lang));
    };
    let since = request.since.as_ref();
    if since.is_some_and(|s| !s.epoch.is_empty() && *s.epoch != *head.epoch) {
        return Err(ProtocolError::Unrecoverable.into());
    }
    Ok(HistoryResult {
        publications: page(tail, request),
        epoch: head.epoch.to_string(),
        offset: head.seq,
    })
}

fn locate(backend: &dyn Backend, session: &Session, channel: &str) -> Result<Location, ErrorReply> {
    // An unknown channel gets the same error as a channel that offers nothing, so that nobody can probe for names.
    backend
        .locate(session, channel)
        .ok_or_else(|| ProtocolError::NotAvailable.into())
}

/// Selects the requested page; `publications` are oldest first.
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

/// Reads data of a channel in one snapshot with the check of the session's right.
async fn permitted(
    backend: &dyn Backend,
    connection: &Connection,
    session: &Session,
    (location, channel): (Location, &str),
    want: Want,
) -> Result<(Option<Head>, Found), ErrorReply> {
    let lang = connection.lang;
    let asks = [Ask {
        channel: channel.into(),
        want,
    }];
    let hub = connection.hub();
    let read = backend.read(location.log, Some(session), &asks, &**hub).await;
    let read = read.map_err(|failure| failure.logged(lang))?;
    if read.standing != Standing::Good {
        return Err(backend.failure(Kind::SessionEnded).reply(lang));
    }
    match read.answers.into_iter().next() {
        Some(backend::Answer::Granted { found, .. }) => Ok((read.head, found)),
        _ => Err(backend.failure(Kind::Denied).reply(lang)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::commands::StreamPosition;

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
    fn a_history_page_starts_at_either_end_or_at_a_position() {
        assert_eq!(offsets(-1, None, false), [1, 2, 3, 4, 5]);
        assert_eq!(offsets(2, None, false), [1, 2]);
        assert_eq!(offsets(2, Some(2), false), [3, 4]);
        assert_eq!(offsets(-1, None, true), [5, 4, 3, 2, 1]);
        assert_eq!(offsets(2, Some(4), true), [3, 2]);
        assert!(offsets(0, None, false).is_empty());
        assert!(offsets(-1, Some(5), false).is_empty());
    }
}
