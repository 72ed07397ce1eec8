//! Idempotency keys. The answer to a request with a key is stored in the transaction of its effect, so that a retry
//! returns the first answer and has no further effect. Errors are not stored. The same table holds the client keys of
//! commands on the socket.

use std::collections::HashMap;
use std::future::{Ready, ready};

use actix_web::body::BoxBody;
use actix_web::http::{StatusCode, header};
use actix_web::{FromRequest, HttpRequest, HttpResponse, Responder, dev::Payload};
use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, Binary, Text, Timestamptz, Uuid as SqlUuid};
use diesel::{
    ExpressionMethods as _, QueryDsl as _, QueryResult, Queryable, QueryableByName, Selectable, SelectableHelper as _,
};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::db::schema::idempotency_keys as keys;
use crate::db::statement::{Bind as _, statement};
use crate::error::{Code, Error, Result};
use crate::events::Tx;
use crate::ids::{AccountId, GymId};

/// The `Idempotency-Key` header of a request, if it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl FromRequest for IdempotencyKey {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let Some(value) = request.headers().get("idempotency-key") else {
            return ready(Ok(Self(None)));
        };
        ready(match value.to_str() {
            Ok(key) if (1..=200).contains(&key.len()) => Ok(Self(Some(key.to_owned()))),
            _ => Err(Error::invalid(
                "Idempotency-Key",
                ("1 to 200 printable characters", "de 1 a 200 caracteres imprimibles"),
            )),
        })
    }
}

/// The answer to a request: its own, or the stored one of the first request with its key.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, as JSON.
    pub body: String,
    /// Whether it is the stored answer to an earlier request.
    pub replayed: bool,
}

impl Responder for Answer {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let mut response = HttpResponse::build(StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK));
        if self.replayed {
            response.insert_header(("Idempotency-Replayed", "true"));
        }
        response
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .body(self.body)
    }
}

/// Runs `work` once per key: a repeat of the same request with the same key gets the first answer, even if both run at
/// the same time. Without a key, `work` runs each time.
///
/// `operation` names the handler or command. Operation and `request` together are what a key stands for.
///
/// # Errors
/// [`Code::KeyReused`] if the key was used for another request; else the errors of `work`.
pub async fn once<T: Serialize>(
    tx: &mut Tx,
    key: &IdempotencyKey,
    operation: &str,
    request: &impl Serialize,
    status: u16,
    work: impl AsyncFnOnce(&mut Tx) -> Result<T>,
) -> Result<Answer> {
    let (Some(key), Some(account)) = (&key.0, tx.actor) else {
        let body = to_json(&work(tx).await?)?;
        return Ok(Answer {
            status,
            body,
            replayed: false,
        });
    };
    let hash = fingerprint(operation, request)?;
    if let Some(answer) = claim(tx, account, key, &hash, status).await? {
        return Ok(answer);
    }
    let body = to_json(&work(tx).await?)?;
    let gym = tx.gym;
    statement("UPDATE idempotency_keys SET response = $ WHERE gym_id = $ AND account_id = $ AND key = $")
        .bind::<Text, _>(&body)
        .bind::<SqlUuid, _>(gym)
        .bind::<SqlUuid, _>(account)
        .bind::<Text, _>(key)
        .execute(&mut **tx)
        .await?;
    Ok(Answer {
        status,
        body,
        replayed: false,
    })
}

/// Does the same for an answer with a part that must not be stored, such as the secret of a link. `work` returns the
/// answer that is stored, which a repeat gets, and the whole answer.
pub async fn once_with_secret<T: Serialize>(
    tx: &mut Tx,
    key: &IdempotencyKey,
    operation: &str,
    request: &impl Serialize,
    status: u16,
    work: impl AsyncFnOnce(&mut Tx) -> Result<(T, T)>,
) -> Result<Answer> {
    let mut whole = None;
    let answer = once(tx, key, operation, request, status, async |tx| {
        let (stored, all) = work(tx).await?;
        whole = Some(to_json(&all)?);
        Ok(stored)
    })
    .await?;
    Ok(match whole {
        Some(body) => Answer { body, ..answer },
        None => answer,
    })
}

/// Inserts the key, and waits for any unfinished transaction that has inserted it. Returns the stored answer if the key
/// was used before.
async fn claim(tx: &mut Tx, account: AccountId, key: &str, hash: &[u8], status: u16) -> Result<Option<Answer>> {
    let (gym, now) = (tx.gym, tx.now);
    let taken = diesel::insert_into(keys::table)
        .values((
            keys::gym_id.eq(gym),
            keys::account_id.eq(account),
            keys::key.eq(key),
            keys::request_hash.eq(hash),
            keys::status.eq(i32::from(status)),
            keys::response.eq(""),
            keys::created_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(&mut **tx)
        .await?;
    if taken == 1 {
        return Ok(None);
    }
    let stored: Stored = keys::table
        .find((gym, account, key))
        .select(Stored::as_select())
        .first(&mut **tx)
        .await?;
    stored.again(hash).map(Some)
}

/// A used key with its fingerprint and answer.
#[derive(Clone, Debug, Queryable, QueryableByName, Selectable)]
#[diesel(table_name = keys)]
pub struct Stored {
    account_id: AccountId,
    key: String,
    request_hash: Vec<u8>,
    status: i32,
    response: String,
}

impl Stored {
    /// The stored answer, for a request with this [`fingerprint`].
    ///
    /// # Errors
    /// [`Code::KeyReused`] if the key was used for another request.
    pub fn again(&self, fingerprint: &[u8]) -> Result<Answer> {
        if self.request_hash != fingerprint {
            return Err(Error::new(Code::KeyReused));
        }
        Ok(Answer {
            status: u16::try_from(self.status).unwrap_or(200),
            body: self.response.clone(),
            replayed: true,
        })
    }
}

/// The stored answers of these keys, by account and key.
pub async fn stored(
    mut conn: &AsyncPgConnection,
    gym: GymId,
    used: &[(AccountId, &str)],
) -> QueryResult<HashMap<(AccountId, String), Stored>> {
    if used.is_empty() {
        return Ok(HashMap::new());
    }
    let (accounts, names): (Vec<_>, Vec<_>) = used.iter().copied().unzip();
    // The lateral join looks up each pair by the primary key. Two `ANY` lists would read all keys of all these
    // accounts.
    let rows: Vec<Stored> = statement(
        "SELECT stored.account_id, stored.key, stored.request_hash, stored.status, stored.response
         FROM unnest($, $) AS used (account_id, key)
         CROSS JOIN LATERAL (
             SELECT * FROM idempotency_keys k
             WHERE k.gym_id = $ AND k.account_id = used.account_id AND k.key = used.key
             LIMIT 1
         ) AS stored",
    )
    .bind::<Array<SqlUuid>, _>(accounts)
    .bind::<Array<Text>, _>(names)
    .bind::<SqlUuid, _>(gym)
    .load(&mut conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ((row.account_id, row.key.clone()), row))
        .collect())
}

/// An answer to store under its key.
pub struct NewAnswer<'a> {
    /// The account that sent the key.
    pub account: AccountId,
    /// The key.
    pub key: &'a str,
    /// The request's [`fingerprint`].
    pub fingerprint: &'a [u8],
    /// The answer as JSON, with status 200.
    pub body: &'a str,
}

/// Stores answers. If another transaction has stored one of the keys meanwhile, the whole statement fails;
/// [`App::change`] then retries and finds the stored answer.
///
/// [`App::change`]: crate::app::App::change
pub async fn store(
    mut conn: &AsyncPgConnection,
    gym: GymId,
    now: DateTime<Utc>,
    answers: &[NewAnswer<'_>],
) -> QueryResult<()> {
    if answers.is_empty() {
        return Ok(());
    }
    statement(
        "INSERT INTO idempotency_keys (gym_id, account_id, key, request_hash, status, response, created_at)
         SELECT a.* FROM (SELECT $, unnest($), unnest($), unnest($), 200, unnest($), $) AS a",
    )
    .bind::<SqlUuid, _>(gym)
    .bind::<Array<SqlUuid>, _>(answers.iter().map(|a| a.account).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(answers.iter().map(|a| a.key).collect::<Vec<_>>())
    .bind::<Array<Binary>, _>(answers.iter().map(|a| a.fingerprint).collect::<Vec<_>>())
    .bind::<Array<Text>, _>(answers.iter().map(|a| a.body).collect::<Vec<_>>())
    .bind::<Timestamptz, _>(now)
    .execute(&mut conn)
    .await
    .map(drop)
}

/// Identifies what a key is used for: a digest of the operation and its request.
pub fn fingerprint(operation: &str, request: &impl Serialize) -> Result<Vec<u8>> {
    let mut hash = Sha256::new();
    hash.update(operation);
    hash.update([0]);
    hash.update(to_json(request)?);
    Ok(hash.finalize().to_vec())
}

/// Serialises an answer.
pub fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::new(Code::Internal).caused_by(e))
}
