//! The one error type. [`Code`] lists every error that a client can get: a stable name, the HTTP status of its RFC 9457
//! problem, its number on the socket, and a sentence in English and Spanish that tells a person what to do. REST and
//! the socket share this table, so that a client handles each error once.

mod words;

use std::fmt;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Map, Value, json};

pub use words::{Lang, Said};

/// The things that a request may fail to find: the name in a problem's `thing`, and the Spanish words in its sentence.
const THINGS: [(&str, &str); 15] = [
    ("assignment", "esa asignación"),
    ("channel", "ese canal"),
    ("day", "ese día"),
    ("follow", "ese seguimiento"),
    ("food", "ese alimento"),
    ("gym", "ese gimnasio"),
    ("invitation", "esa invitación"),
    ("item", "ese ingrediente"),
    ("meal", "esa comida"),
    ("member", "esa persona"),
    ("page", "esa página"),
    ("plan", "ese plan"),
    ("revision", "esa revisión"),
    ("session", "esa sesión"),
    ("trainer", "ese entrenador"),
];

macro_rules! codes {
    ($($variant:ident $name:literal $status:literal $number:literal $en:literal $es:literal;)+) => {
        /// What went wrong, by a stable name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $en] $variant,)+
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The stable name, as in a problem's `code`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The HTTP status of its problem.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)+ }
            }

            /// Its number in an error reply on the socket.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// The sentence, with `{placeholders}`.
            #[must_use]
            pub const fn sentence(self, lang: Lang) -> &'static str {
                match (self, lang) {
                    $((Self::$variant, Lang::En) => $en, (Self::$variant, Lang::Es) => $es,)+
                }
            }
        }
    };
}

codes! {
    Internal "internal" 500 100 "Something went wrong on our side. Try again; if it persists, tell us the request id." "Algo ha fallado por nuestra parte. Inténtalo de nuevo; si persiste, indícanos el id de la petición.";
    Unavailable "unavailable" 503 1503 "The service cannot reach its database at the moment. Nothing was changed; try again in a few seconds." "El servicio no puede acceder a su base de datos en este momento. No se ha cambiado nada; inténtalo de nuevo en unos segundos.";
    OutcomeUnknown "outcome_unknown" 503 1504 "The connection to the database broke while your change was being saved. Read the data again, or repeat the request with the same idempotency key, to see whether it was saved." "La conexión con la base de datos se cortó mientras se guardaba tu cambio. Vuelve a leer los datos, o repite la petición con la misma clave de idempotencia, para saber si se guardó.";
    Busy "busy" 503 1513 "The service is overloaded at the moment. Try again in {seconds} seconds." "El servicio está saturado en este momento. Inténtalo de nuevo dentro de {seconds} segundos.";
    Unauthenticated "unauthenticated" 401 101 "Sign in first." "Inicia sesión primero.";
    TokenExpired "token_expired" 401 109 "Your access token has expired. Refresh it." "Tu token de acceso ha caducado. Renuévalo.";
    SessionEnded "session_ended" 401 1401 "This session has ended or your access has changed. Sign in again." "Esta sesión ha terminado o tu acceso ha cambiado. Vuelve a iniciar sesión.";
    BadCredentials "bad_credentials" 401 1402 "The email or the password is wrong." "El correo o la contraseña no son correctos.";
    GymRequired "gym_required" 409 1410 "You belong to several gyms. Name one of them: {gyms}." "Perteneces a varios gimnasios. Indica uno de ellos: {gyms}.";
    Forbidden "forbidden" 403 103 "Your role does not allow this." "Tu rol no te permite hacer esto.";
    NotFound "not_found" 404 1404 "There is no such {thing}." "No existe {thing}.";
    MethodNotAllowed "method_not_allowed" 405 1405 "This address does not support that method." "Esta dirección no admite ese método.";
    Conflict "conflict" 409 1409 "{reason}" "{reason}";
    Invalid "invalid" 422 1422 "The field {field} is invalid: {reason}." "El campo {field} no es válido: {reason}.";
    Malformed "malformed" 400 107 "The request cannot be read: {reason}." "No se puede leer la petición: {reason}.";
    TooLarge "too_large" 413 1413 "The request exceeds the limit of {limit} bytes." "La petición supera el límite de {limit} bytes.";
    RequestTimeout "request_timeout" 408 1408 "The request took too long to arrive. Send it again." "La petición ha tardado demasiado en llegar. Envíala de nuevo.";
    UnsupportedMediaType "unsupported_media_type" 415 1415 "Send uncompressed JSON with Content-Type: application/json." "Envía JSON sin comprimir, con Content-Type: application/json.";
    VersionRequired "version_required" 428 1428 "Send If-Match with the ETag that you read, so that you do not overwrite another change." "Envía If-Match con el ETag que leíste, para no sobrescribir otro cambio.";
    VersionStale "version_stale" 412 1412 "This has changed in the meantime. Read it again; the current ETag is {etag}." "Esto ha cambiado mientras tanto. Vuelve a leerlo; el ETag actual es {etag}.";
    KeyReused "key_reused" 422 1423 "This idempotency key was already used for a different request. Use a new key." "Esta clave de idempotencia ya se usó para otra petición. Usa una clave nueva.";
    TooMany "too_many_requests" 429 1429 "Too many attempts. Wait {seconds} seconds and try again." "Demasiados intentos. Espera {seconds} segundos e inténtalo de nuevo.";
    PlanNotPublished "plan_not_published" 409 1430 "Only a published plan can be followed." "Solo se puede seguir un plan publicado.";
    PlanArchived "plan_archived" 409 1431 "An archived plan cannot be changed." "Un plan archivado no se puede cambiar.";
    PlanEmpty "plan_empty" 409 1432 "A plan needs at least one meal with one item before it can be published." "Un plan necesita al menos una comida con un ingrediente para poder publicarse.";
    AlreadyFollowing "already_following" 409 1433 "The member already follows a plan. Abandon it first." "El miembro ya sigue un plan. Abandónalo primero.";
    NotFollowing "not_following" 404 1434 "The member does not follow a plan at the moment." "El miembro no sigue ningún plan en este momento.";
    MealNotOnDay "meal_not_on_day" 409 1435 "The plan does not have that meal on {date}." "El plan no incluye esa comida el {date}.";
    FollowPaused "follow_paused" 409 1460 "The plan is paused. Resume it first." "El plan está en pausa. Reanúdalo primero.";
    FollowStatus "follow_status" 409 1461 "A follow with the status {status} does not allow this action." "Un seguimiento en estado {status} no permite esta acción.";
    UnknownMethod "unknown_method" 404 104 "There is no command called {method}." "No existe ningún comando llamado {method}.";
    NoMembership "no_membership" 403 1450 "You have no active membership of the gym. Ask its staff." "No tienes ninguna membresía activa en el gimnasio. Consulta a su personal.";
    LastOwner "last_owner" 409 1451 "The gym needs an active owner. Make somebody else an owner first." "El gimnasio necesita un propietario activo. Nombra antes a otro propietario.";
    AlreadyMember "already_member" 409 1452 "This person already belongs to the gym." "Esta persona ya pertenece al gimnasio.";
    LinkInvalid "link_invalid" 410 1470 "This link no longer works: it was used, replaced or revoked, or it has expired. Ask for a new one." "Este enlace ya no funciona: se ha usado, sustituido o anulado, o ha caducado. Pide uno nuevo.";
    AlreadyInvited "already_invited" 409 1471 "There is an invitation for this email already. Renew it to get a new link." "Ya hay una invitación para este correo. Renuévala para obtener un enlace nuevo.";
    EmailInUse "email_in_use" 409 1472 "Somebody in this gym signs in with this email already. Sign in to that account, or use another email." "Alguien de este gimnasio ya inicia sesión con este correo. Inicia sesión con esa cuenta o usa otro correo.";
    OperatorOnly "operator_only" 403 1473 "Only the operator of this server can reset the password of this account." "Solo quien administra este servidor puede restablecer la contraseña de esta cuenta.";
    AlreadyAssigned "already_assigned" 409 1453 "This trainer is already assigned to this member." "Este entrenador ya está asignado a este miembro.";
}

impl Code {
    /// Whether this refuses a request that is not authenticated, not permitted or too frequent, or whose link no longer
    /// works. An expired access token is routine.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        matches!(self.status(), 401 | 403 | 410 | 429) && !matches!(self, Self::TokenExpired)
    }
}

/// An error: its code, the values of its sentence's placeholders, and its cause.
pub struct Error {
    /// What went wrong.
    pub code: Code,
    args: Vec<(&'static str, Said)>,
    /// Extra members of the problem, such as the current ETag.
    extra: Vec<(&'static str, Value)>,
    /// Headers of the problem's response.
    headers: Vec<(&'static str, String)>,
    /// The cause, for the log only.
    source: Option<anyhow::Error>,
}

/// The result of handlers and changes.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this code.
    #[must_use]
    pub fn new(code: Code) -> Self {
        Self {
            code,
            args: Vec::new(),
            extra: Vec::new(),
            headers: Vec::new(),
            source: None,
        }
    }

    /// Fills a `{placeholder}` of the sentence. The value also becomes a member of the problem.
    #[must_use]
    pub fn with(self, name: &'static str, value: impl fmt::Display) -> Self {
        let same = value.to_string();
        self.saying(name, (same.clone(), same))
    }

    /// Fills a `{placeholder}` with a text in both languages.
    #[must_use]
    pub fn saying(mut self, name: &'static str, words: impl Into<Said>) -> Self {
        self.args.push((name, words.into()));
        self
    }

    /// Adds a member to the problem.
    #[must_use]
    pub fn extra(mut self, name: &'static str, value: Value) -> Self {
        self.extra.push((name, value));
        self
    }

    /// Adds a header to the problem's response.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// Keeps a cause for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the cause if it has this type.
    #[must_use]
    pub fn cause<T: std::error::Error + Send + Sync + 'static>(&self) -> Option<&T> {
        self.source.as_ref().and_then(|s| s.downcast_ref())
    }

    /// 404: the thing does not exist, or it belongs to another gym.
    #[must_use]
    pub fn not_found(thing: &'static str) -> Self {
        let known = THINGS.iter().find(|(name, _)| *name == thing);
        Self::new(Code::NotFound)
            .saying("thing", (thing, known.map_or(thing, |(_, es)| es)))
            .extra("thing", json!(thing))
    }

    /// 422: a field of the request has an invalid value. `reason` says which values are valid, in English and Spanish.
    #[must_use]
    pub fn invalid(field: impl fmt::Display, reason: impl Into<Said>) -> Self {
        Self::new(Code::Invalid).with("field", field).saying("reason", reason)
    }

    /// 409 with a sentence of its own, in English and Spanish.
    #[must_use]
    pub fn conflict(reason: impl Into<Said>) -> Self {
        Self::new(Code::Conflict).saying("reason", reason)
    }

    /// 403.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(Code::Forbidden)
    }

    /// The sentence in a language.
    #[must_use]
    pub fn detail(&self, lang: Lang) -> String {
        let mut text = self.code.sentence(lang).to_owned();
        for (name, value) in &self.args {
            text = text.replace(&format!("{{{name}}}"), value.in_lang(lang));
        }
        text
    }

    /// Whether repeating the same request may succeed.
    #[must_use]
    pub fn temporary(&self) -> bool {
        matches!(
            self.code,
            Code::Internal
                | Code::Unavailable
                | Code::OutcomeUnknown
                | Code::Busy
                | Code::TooMany
                | Code::RequestTimeout
        )
    }

    /// The RFC 9457 problem.
    #[must_use]
    pub fn problem(&self, lang: Lang) -> Value {
        let mut problem = Map::new();
        problem.insert("type".into(), json!(format!("/api/docs/problems#{}", self.code.name())));
        problem.insert("title".into(), json!(self.code.name().replace('_', " ")));
        problem.insert("status".into(), json!(self.code.status()));
        problem.insert("code".into(), json!(self.code.name()));
        problem.insert("detail".into(), json!(self.detail(lang)));
        for (name, value) in &self.args {
            problem.insert((*name).into(), json!(value.in_lang(lang)));
        }
        for (name, value) in &self.extra {
            problem.insert((*name).into(), value.clone());
        }
        Value::Object(problem)
    }

    /// Builds the problem's response, with the code in its extensions. It does not log the error; [`Self::log`] does.
    #[must_use]
    pub fn response(&self, lang: Lang) -> HttpResponse {
        let status = StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        response.content_type("application/problem+json");
        response.insert_header((header::CONTENT_LANGUAGE, lang.tag()));
        for (name, value) in &self.args {
            match *name {
                "etag" => response.insert_header((header::ETAG, value.en.as_str())),
                "seconds" => response.insert_header((header::RETRY_AFTER, value.en.as_str())),
                _ => continue,
            };
        }
        for (name, value) in &self.headers {
            response.insert_header((*name, value.as_str()));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        let mut response = response.body(self.problem(lang).to_string());
        response.extensions_mut().insert(self.code);
        response
    }

    /// Logs a server error (status 500 and above) with its cause. Call it once, where the error is handled.
    pub fn log(&self) {
        if self.code.status() >= 500 {
            tracing::error!(error.code = self.code.name(), error.cause = ?self.source, "request failed");
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.detail(Lang::En))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:?})", self.source)
    }
}

impl std::error::Error for Error {}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Renders English. The language middleware renders the problem again if the request asks for Spanish.
    fn error_response(&self) -> HttpResponse {
        self.response(Lang::En)
    }
}

impl From<diesel::result::Error> for Error {
    fn from(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind as Kind, Error as Diesel};
        let code = match &error {
            Diesel::DatabaseError(Kind::ClosedConnection | Kind::UnableToSendCommand, _)
            | Diesel::BrokenTransactionManager => Code::Unavailable,
            // A server that is going away is found by `db::failure`, which has the connection.
            _ => Code::Internal,
        };
        Self::new(code).caused_by(error)
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Code::Internal).caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_numbers_of_codes_are_unique() {
        let names: HashSet<_> = Code::ALL.iter().map(|c| c.name()).collect();
        let numbers: HashSet<_> = Code::ALL.iter().map(|c| c.number()).collect();
        assert_eq!((names.len(), numbers.len()), (Code::ALL.len(), Code::ALL.len()));
    }

    #[test]
    fn both_languages_have_the_same_placeholders() {
        let holes = |text: &str| -> HashSet<String> {
            text.split('{')
                .skip(1)
                .filter_map(|p| p.split('}').next())
                .map(str::to_owned)
                .collect()
        };
        for code in Code::ALL {
            assert_eq!(
                holes(code.sentence(Lang::En)),
                holes(code.sentence(Lang::Es)),
                "{}",
                code.name()
            );
        }
    }

    #[test]
    fn reasons_and_things_are_in_the_language_of_the_sentence() {
        let invalid = Error::invalid("limit", ("1 to 200", "de 1 a 200"));
        assert!(
            invalid.detail(Lang::Es).ends_with("de 1 a 200."),
            "{}",
            invalid.detail(Lang::Es)
        );
        assert_eq!(invalid.problem(Lang::En)["reason"], "1 to 200");
        let missing = Error::not_found("meal");
        assert_eq!(missing.detail(Lang::Es), "No existe esa comida.");
        // The name for machines is the same in both languages.
        assert_eq!(missing.problem(Lang::Es)["thing"], "meal");
    }
}
