//! The table of routes. Each route appears once, in an order in which every row still finds what it needs after the
//! rows before it.

use liveplan::auth::Role::{self, Auditor, Member, Nutritionist, Owner, Trainer};

use super::EVERYBODY;

/// Who may use a route.
pub enum Door {
    /// Everybody, signed in or not; with the reason.
    Public(&'static str),
    /// Signed-in accounts, except those that have only one of these roles and no other relation to the object.
    Roles(&'static [Role]),
}

/// What an account of another gym gets.
pub enum Elsewhere {
    /// 404, as for an object that no gym has.
    NotFound,
    /// Another refusal, the same as for an object that no gym has.
    Refused(u16, &'static str),
    /// Only objects of its own gym.
    OwnOnly,
    /// The request names no object of a gym; with the reason.
    Nothing(&'static str),
}

/// A person with the right to use a route.
#[derive(Clone, Copy)]
pub enum Right {
    Author,
    Manager,
    Trainer,
    Member,
    /// Any account of the gym; a new one each time, since some requests end its access.
    Anybody,
}

/// A route, and a request to it that is valid except for its sender.
pub struct Row {
    pub method: &'static str,
    /// The path below `/api/v1`, as in the OpenAPI document.
    pub path: &'static str,
    pub door: Door,
    pub right: Right,
    pub elsewhere: Elsewhere,
    pub body: &'static str,
    pub query: &'static str,
    /// Placeholders of the path that stand for another object in this row.
    pub instead: &'static [(&'static str, &'static str)],
}

/// Roles that may not write another author's plan or food.
const NOT_WRITERS: &[Role] = &[Owner, Trainer, Member, Auditor];
/// Roles that may not read a plan for followers only, unless they follow it or train a follower.
const NOT_READERS: &[Role] = &[Trainer, Member, Auditor];
/// Roles that do not manage the gym.
const NOT_RUNNING: &[Role] = &[Nutritionist, Trainer, Member, Auditor];
/// Roles that may not create plans or foods.
const NOT_AUTHORS: &[Role] = &[Owner, Member, Auditor];

const fn public(method: &'static str, path: &'static str, why: &'static str) -> Row {
    let mut row = open(method, path, Right::Anybody, Elsewhere::Nothing(why));
    row.door = Door::Public(why);
    row
}

/// A route that is open to every signed-in account.
const fn open(method: &'static str, path: &'static str, right: Right, elsewhere: Elsewhere) -> Row {
    row(method, path, &[], right, elsewhere)
}

const fn row(
    method: &'static str,
    path: &'static str,
    wrong: &'static [Role],
    right: Right,
    elsewhere: Elsewhere,
) -> Row {
    Row {
        method,
        path,
        door: Door::Roles(wrong),
        right,
        elsewhere,
        body: "",
        query: "",
        instead: &[],
    }
}

impl Row {
    const fn body(mut self, body: &'static str) -> Self {
        self.body = body;
        self
    }

    const fn query(mut self, query: &'static str) -> Self {
        self.query = query;
        self
    }

    const fn instead(mut self, instead: &'static [(&'static str, &'static str)]) -> Self {
        self.instead = instead;
        self
    }
}

/// The table, as the module describes it.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    public("POST", "/auth/login", "it is the door itself")
        .body(r#"{"email": "nobody@test.example", "password": "not the one"}"#),
    public("POST", "/auth/refresh", "the refresh token in it is the proof")
        .body(r#"{"refresh_token": "none"}"#),
    public("POST", "/invitations/open", "the secret in the link is the proof")
        .body(r#"{"secret": "none"}"#),
    public("POST", "/invitations/accept", "the secret in the link is the proof")
        .body(r#"{"secret": "none", "account": {"email": "x@test.example", "name": "x", "password": "battery staple"}}"#),
    public("POST", "/auth/reset/open", "the secret in the link is the proof")
        .body(r#"{"secret": "none"}"#),
    public("POST", "/auth/reset", "the secret in the link is the proof")
        .body(r#"{"secret": "none", "new_password": "battery staple"}"#),
    public("GET", "/demo", "in demo mode only, and without it there is no such page"),
    open("GET", "/auth/me", Right::Anybody, Elsewhere::Nothing("shows the caller")),
    open("GET", "/auth/sessions", Right::Anybody, Elsewhere::OwnOnly),
    open("POST", "/auth/password", Right::Anybody, Elsewhere::Nothing("changes the caller's own"))
        .body(r#"{"current_password": "correct horse", "new_password": "battery staple"}"#),
    open("POST", "/auth/switch", Right::Anybody, Elsewhere::Refused(403, "no_membership"))
        .body(r#"{"gym": "<slug>"}"#),
    open("POST", "/auth/logout", Right::Anybody, Elsewhere::Nothing("ends the caller's own session")),
    open("DELETE", "/auth/sessions/{session}", Right::Member, Elsewhere::NotFound),
    open("GET", "/gym", Right::Anybody, Elsewhere::OwnOnly),
    row("PATCH", "/gym", NOT_RUNNING, Right::Manager, Elsewhere::Nothing("the gym is the token's"))
        .body(r#"{"name": "Otro nombre"}"#),
    row("GET", "/memberships", &[Member, Auditor], Right::Manager, Elsewhere::OwnOnly),
    row("GET", "/memberships/{account}", NOT_READERS, Right::Trainer, Elsewhere::NotFound),
    row("PATCH", "/memberships/{account}", NOT_RUNNING, Right::Manager, Elsewhere::NotFound)
        .body(r#"{"roles": ["member"]}"#),
    row("POST", "/memberships/{account}/reset-link", NOT_RUNNING, Right::Manager, Elsewhere::NotFound),
    row("GET", "/invitations", NOT_RUNNING, Right::Manager, Elsewhere::OwnOnly),
    row("POST", "/invitations", NOT_RUNNING, Right::Manager, Elsewhere::Nothing("adds to the token's gym"))
        .body(r#"{"email": "new@test.example", "name": "Nuria", "roles": ["member"]}"#),
    row("POST", "/invitations/{invitation}/renew", NOT_RUNNING, Right::Manager, Elsewhere::NotFound),
    row("DELETE", "/invitations/{invitation}", NOT_RUNNING, Right::Manager, Elsewhere::NotFound),
    row("GET", "/assignments", &[Auditor], Right::Manager, Elsewhere::OwnOnly),
    row("POST", "/assignments", NOT_RUNNING, Right::Manager, Elsewhere::Refused(422, "invalid"))
        .body(r#"{"trainer_id": "<trainer>", "member_id": "<second>"}"#),
    open("GET", "/foods", Right::Anybody, Elsewhere::OwnOnly),
    row("POST", "/foods", NOT_AUTHORS, Right::Author, Elsewhere::Nothing("adds to the token's gym"))
        .body(r#"{"name_es": "Sopa", "per_100g": {}}"#),
    open("GET", "/foods/{food}", Right::Anybody, Elsewhere::NotFound),
    row("PATCH", "/foods/{food}", NOT_WRITERS, Right::Author, Elsewhere::NotFound)
        .body(r#"{"brand": "De casa"}"#),
    row("GET", "/plans", &[Auditor], Right::Author, Elsewhere::OwnOnly),
    row("POST", "/plans", NOT_AUTHORS, Right::Author, Elsewhere::Nothing("adds to the token's gym"))
        .body(r#"{"goal": "health", "name": "Otro", "duration_days": 1}"#),
    row("GET", "/plans/{plan}", NOT_READERS, Right::Member, Elsewhere::NotFound),
    row("PATCH", "/plans/{plan}", NOT_WRITERS, Right::Author, Elsewhere::NotFound)
        .body(r#"{"description": "Otra"}"#),
    row("POST", "/plans/{plan}/publish", NOT_WRITERS, Right::Author, Elsewhere::NotFound)
        .instead(&[("plan", "ready")]),
    row("POST", "/plans/{plan}/archive", NOT_WRITERS, Right::Author, Elsewhere::NotFound)
        .instead(&[("plan", "ready")]),
    row("POST", "/plans/{plan}/duplicate", NOT_WRITERS, Right::Author, Elsewhere::NotFound),
    row("DELETE", "/plans/{plan}", NOT_WRITERS, Right::Author, Elsewhere::NotFound)
        .instead(&[("plan", "draft")]),
    row("GET", "/plans/{plan}/revisions", NOT_READERS, Right::Author, Elsewhere::NotFound),
    row("GET", "/plans/{plan}/revisions/{revision}", NOT_READERS, Right::Author, Elsewhere::NotFound),
    row("GET", "/plans/{plan}/days/{day}", NOT_READERS, Right::Member, Elsewhere::NotFound),
    row("PATCH", "/plans/{plan}/days/{day}", NOT_WRITERS, Right::Author, Elsewhere::NotFound)
        .body(r#"{"title": "Lunes"}"#),
    row("POST", "/plans/{plan}/days/{day}/meals", NOT_WRITERS, Right::Author, Elsewhere::NotFound)
        .body(r#"{"slot": "dinner", "title": "Cena"}"#),
    row("GET", "/plans/{plan}/days/{day}/meals/{meal}", NOT_READERS, Right::Member, Elsewhere::NotFound),
    row("PATCH", "/plans/{plan}/days/{day}/meals/{meal}", NOT_WRITERS, Right::Author, Elsewhere::NotFound)
        .body(r#"{"title": "Comida"}"#),
    row("POST", "/plans/{plan}/days/{day}/meals/{meal}/items", NOT_WRITERS, Right::Author, Elsewhere::NotFound)
        .body(r#"{"food_id": "<food>", "grams_milli": 1000}"#),
    row("PATCH", "/plans/{plan}/days/{day}/meals/{meal}/items/{item}", NOT_WRITERS, Right::Author, Elsewhere::NotFound)
        .body(r#"{"grams_milli": 3000}"#),
    row("DELETE", "/plans/{plan}/days/{day}/meals/{meal}/items/{item}", NOT_WRITERS, Right::Author, Elsewhere::NotFound),
    row("DELETE", "/plans/{plan}/days/{day}/meals/{meal}", NOT_WRITERS, Right::Author, Elsewhere::NotFound)
        .instead(&[("meal", "other_meal")]),
    row("POST", "/plans/{plan}/follow", EVERYBODY, Right::Trainer, Elsewhere::NotFound)
        .body(r#"{"member_id": "<second>"}"#),
    row("GET", "/follows", NOT_WRITERS, Right::Trainer, Elsewhere::NotFound)
        .query("?member={member}"),
    row("GET", "/follows/today", NOT_WRITERS, Right::Trainer, Elsewhere::NotFound)
        .query("?member={member}"),
    row("GET", "/progress/daily", NOT_WRITERS, Right::Trainer, Elsewhere::NotFound)
        .query("?member={member}"),
    row("GET", "/trainer/roster", &[Owner, Nutritionist, Trainer, Member, Auditor], Right::Manager, Elsewhere::NotFound)
        .query("?trainer={trainer}"),
    row("GET", "/live/snapshots/{channel}", NOT_WRITERS, Right::Trainer, Elsewhere::NotFound),
    row("GET", "/system/live", NOT_RUNNING, Right::Manager, Elsewhere::OwnOnly),
    row("PUT", "/meals/{meal}/completions/{date}", EVERYBODY, Right::Trainer, Elsewhere::NotFound)
        .body(r#"{"status": "eaten", "member_id": "<member>"}"#),
    row("POST", "/meals/complete", EVERYBODY, Right::Trainer, Elsewhere::NotFound)
        .body(r#"{"meal_id": "<meal>", "date": "<date>", "status": "skipped", "member_id": "<member>"}"#),
    row("DELETE", "/meals/{meal}/completions/{date}", EVERYBODY, Right::Trainer, Elsewhere::NotFound)
        .query("?member={member}"),
    row("POST", "/follows/{follow}/pause", EVERYBODY, Right::Member, Elsewhere::NotFound),
    row("POST", "/follows/{follow}/resume", EVERYBODY, Right::Member, Elsewhere::NotFound),
    row("POST", "/follows/{follow}/abandon", EVERYBODY, Right::Member, Elsewhere::NotFound),
    row("DELETE", "/assignments/{assignment}", NOT_RUNNING, Right::Manager, Elsewhere::NotFound),
    row("DELETE", "/foods/{food}", NOT_WRITERS, Right::Author, Elsewhere::NotFound),
];
