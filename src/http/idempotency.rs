//! Idempotency keys: what a request with a key answered is stored in the transaction of its effect, so that a retry
//! returns the first answer and has no effect of its own. Errors are not stored. The same table serves the client keys of
//! commands on the socket.

use std::future::{Ready, ready};

use actix_web::body::BoxBody;
use actix_web::http::{StatusCode, header};
use actix_web::{FromRequest, HttpRequest, HttpResponse, Responder, dev::Payload};
use diesel::sql_types::{Text, Uuid as SqlUuid};
use diesel::{ExpressionMethods as _, QueryDsl as _};
use diesel_async::RunQueryDsl as _;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::db::schema::idempotency_keys as keys;
use crate::db::statement::{Bind as _, statement};
use crate::error::{Code, Error, Result};
use crate::events::Tx;
use crate::ids::AccountId;

/// The `Idempotency-Key` header of a POST, where it has one.
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

/// An answer as it was, or is now, first given.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: String,
    /// Whether it is the stored answer of an earlier request.
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

/// Does `work` once for a key: a second request with the same key and request gets the first one's answer, also when the
/// two run at the same time. Without a key it is done each time.
///
/// `operation` names what is done (a handler or a command); with `request` it makes up what the key was used for.
///
/// # Errors
/// [`Code::KeyReused`] where the key was used for another request; else those of `work`.
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
    let mut hash = Sha256::new();
    hash.update(operation);
    hash.update([0]);
    hash.update(to_json(request)?);
    let hash = hash.finalize().to_vec();
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

/// Takes the key, waiting for a transaction that has taken it and not ended; the stored answer where it was used before.
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
    let (stored_hash, status, body): (Vec<u8>, i32, String) = keys::table
        .find((gym, account, key))
        .select((keys::request_hash, keys::status, keys::response))
        .first(&mut **tx)
        .await?;
    if stored_hash != hash {
        return Err(Error::new(Code::KeyReused));
    }
    Ok(Some(Answer {
        status: u16::try_from(status).unwrap_or(200),
        body,
        replayed: true,
    }))
}

fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::new(Code::Internal).caused_by(e))
}
