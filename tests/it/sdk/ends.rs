//! Revocations as the official SDKs handle them: no client reconnects for ever. Each client connects through its own
//! proxy, which counts connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use liveplan::auth::Role;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::script::{Script, Sdk};
use crate::harness::{Client, Gym, PASSWORD, TestApp};

/// Forwards connections and counts them.
struct Door {
    address: SocketAddr,
    opened: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Door {
    async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let opened = Arc::<AtomicUsize>::default();
        let count = opened.clone();
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(server).await else {
                        return;
                    };
                    // An error only ends the forwarding.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, opened, task }
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The cause of the revocation, the expected reaction of the client, and the most connections that it may take.
struct Case {
    cause: &'static str,
    expected: &'static str,
    renews: bool,
    connections: usize,
    who: Client,
    door: Door,
}

async fn cases(app: &TestApp, gym: Gym, member: &Client) -> Vec<Case> {
    let mut cases = Vec::new();
    for (cause, expected, renews, connections) in [
        ("assignment removed", "stays", true, 1),
        ("membership suspended", "stops", true, 1),
        ("session ended", "stops", true, 1),
        ("password changed", "stops", true, 1),
        // One connection with the old token and one with the new.
        ("role changed", "returns", true, 3),
        // A client that cannot get a new token stops at the first refusal.
        ("role changed", "stops", false, 2),
    ] {
        let who = app.person(gym, &[Role::Trainer]).await;
        app.assign(gym, &who, member).await;
        cases.push(Case {
            cause,
            expected,
            renews,
            connections,
            who,
            door: Door::to(app.address).await,
        });
    }
    cases
}

impl Case {
    fn given(&self, member: &Client) -> Value {
        let watched = (self.expected == "stays").then(|| format!("member:{}", member.account));
        json!({
            "name": format!("{}, {}", self.cause, self.expected), "address": self.door.address.to_string(),
            "email": self.who.email, "roster": format!("roster:{}", self.who.account), "member": watched,
            "expected": self.expected, "renews": self.renews,
        })
    }

    /// Ends the access; the script's session is the one that is not the session of `who`.
    async fn end(&self, manager: &Client) {
        let (who, account) = (&self.who, self.who.account);
        let membership = format!("/memberships/{account}");
        match self.cause {
            "assignment removed" => {
                let found = manager.get(&format!("/assignments?trainer={account}")).await.ok();
                let id = found["items"][0]["id"].as_str().expect("an assignment");
                assert_eq!(manager.delete(&format!("/assignments/{id}")).await.status, 204);
            }
            "membership suspended" => {
                manager.patch(&membership, &json!({"status": "suspended"})).await.ok();
            }
            "role changed" => {
                let roles = json!({"roles": ["trainer", "member"]});
                manager.patch(&membership, &roles).await.ok();
            }
            "session ended" => {
                let open = who.get("/auth/sessions").await.ok();
                let open = open["items"].as_array().expect("sessions");
                let other = open.iter().find(|s| s["current"] == false).expect("the script's");
                let path = format!("/auth/sessions/{}", other["id"].as_str().expect("an id"));
                assert_eq!(who.delete(&path).await.status, 204);
            }
            _ => {
                let body = json!({"current_password": PASSWORD, "new_password": "another horse"});
                assert_eq!(who.post("/auth/password", &body).await.status, 200);
            }
        }
    }
}

async fn nobody_comes_back_for_ever(sdk: Sdk) {
    let app = TestApp::start().await;
    let gym = app.gym().await;
    let manager = app.person(gym, &[Role::Manager]).await;
    let member = app.person(gym, &[Role::Member]).await;
    let cases = cases(&app, gym, &member).await;
    let given: Vec<Value> = cases.iter().map(|case| case.given(&member)).collect();
    let given = json!({"address": app.address.to_string(), "password": PASSWORD, "cases": given});
    let mut script = Script::start(sdk, "ends", &given).await;
    script.cue("all watch").await;
    for case in &cases {
        assert_eq!(case.door.opened(), 1, "{}", case.cause);
        case.end(&manager).await;
    }
    script.tell("go").await;
    script.cue("all have ended").await;
    // New events for the clients that continue.
    let other = app.person(gym, &[Role::Member]).await;
    for case in cases.iter().filter(|case| case.expected != "stops") {
        let body = json!({"trainer_id": case.who.account, "member_id": other.account});
        manager.post("/assignments", &body).await.ok();
    }
    script.tell("go").await;
    script.cue("all are at rest").await;
    let mut rested = Vec::new();
    for case in &cases {
        println!(
            "{sdk:?}, {}, {}: {} connections",
            case.cause,
            case.expected,
            case.door.opened()
        );
        let opened = case.door.opened();
        assert!(
            opened <= case.connections,
            "{}, {}: {opened}",
            case.cause,
            case.expected
        );
        rested.push(opened);
    }
    script.tell("go").await;
    script.cue("all were told again").await;
    for (case, rested) in cases.iter().zip(rested).filter(|(case, _)| case.expected == "stops") {
        let opened = case.door.opened();
        assert!(opened <= rested + 1, "{}, {}: {opened}", case.cause, case.expected);
    }
    script.tell("go").await;
    script.passes().await;
    app.stop().await;
}

#[tokio::test]
async fn javascript_stops_or_reconnects_once_when_access_ends() {
    nobody_comes_back_for_ever(Sdk::JavaScript).await;
}

#[tokio::test]
async fn python_stops_or_reconnects_once_when_access_ends() {
    nobody_comes_back_for_ever(Sdk::Python).await;
}
