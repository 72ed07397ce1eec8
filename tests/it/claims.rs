//! One-time links: how people join gyms and get back into their accounts, and the attacks that this must not allow.

mod invitations;
mod kept;
mod resets;

use liveplan::auth::Role;
use serde_json::{Value, json};

use crate::harness::{Client, Gym, TestApp};

/// Password of accounts that links create.
const NEW_PASSWORD: &str = "battery staple";

/// A gym with an owner and a manager.
struct Place {
    gym: Gym,
    slug: String,
    owner: Client,
    manager: Client,
}

impl Place {
    async fn make(app: &TestApp) -> Self {
        let gym = app.gym().await;
        let owner = app.person(gym, &[Role::Owner]).await;
        let slug = owner.get("/gym").await.ok()["slug"]
            .as_str()
            .expect("a slug")
            .to_owned();
        Self {
            gym,
            slug,
            manager: app.person(gym, &[Role::Manager]).await,
            owner,
        }
    }

    /// Invites somebody as the manager, and returns the answer.
    async fn invite(&self, email: &str) -> Value {
        self.manager
            .post("/invitations", &invitation(email, "member"))
            .await
            .ok()
    }
}

fn invitation(email: &str, role: &str) -> Value {
    json!({"email": email, "name": "Nuria Nueva", "roles": [role]})
}

/// The secret in an answer's link.
fn secret(answer: &Value) -> String {
    let link = answer["link"].as_str().unwrap_or_else(|| panic!("no link in {answer}"));
    link.split_once('#').expect("a fragment").1.to_owned()
}

/// The body with which the holder of a link joins with a new account.
fn claim(secret: &str, email: &str) -> Value {
    json!({"secret": secret, "account": {"email": email, "name": "Nuria Nueva", "password": NEW_PASSWORD}})
}

/// The client of a session that an answer returned.
fn device(app: &TestApp, session: &Value) -> Client {
    let mut device = app.nobody().with(session);
    session["account"]["email"]
        .as_str()
        .expect("an email")
        .clone_into(&mut device.email);
    device.account = session["account"]["id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("an id");
    device
}

/// Joins a gym with a new account.
async fn newcomer(app: &TestApp, place: &Place, email: &str) -> Client {
    let made = place.invite(email).await;
    let session = app
        .nobody()
        .post("/invitations/accept", &claim(&secret(&made), email))
        .await;
    device(app, &session.ok())
}
