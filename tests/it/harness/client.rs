//! A person as an HTTP client.

use std::net::SocketAddr;

use liveplan::ids::AccountId;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::Socket;

/// An account of a gym, or an anonymous client.
#[derive(Clone)]
pub struct Client {
    pub account: AccountId,
    pub email: String,
    pub token: Option<String>,
    address: SocketAddr,
    http: reqwest::Client,
}

/// An HTTP response with its JSON body.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub etag: Option<String>,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// Asserts success and returns the body.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.body);
        self.body
    }

    /// Asserts that the answer is a problem with this status and code.
    #[track_caller]
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status.as_u16(), self.body["code"].as_str().unwrap_or_default()),
            (status, code),
            "{}",
            self.body
        );
    }
}

impl Client {
    pub fn new(address: SocketAddr, account: AccountId, email: String, token: Option<String>) -> Self {
        Self {
            account,
            email,
            token,
            address,
            http: reqwest::Client::new(),
        }
    }

    /// The same person at another node.
    pub fn at(&self, address: SocketAddr) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    /// The same person with the access token of a session.
    pub fn with(&self, session: &Value) -> Self {
        let token = session["access_token"].as_str().expect("an access token");
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// Signs in, as on another device.
    pub async fn login(&self, password: &str, gym: Option<&str>) -> Answer {
        let mut body = serde_json::json!({"email": self.email, "password": password});
        if let Some(gym) = gym {
            body["gym"] = gym.into();
        }
        self.post("/auth/login", &body).await
    }

    /// Sends a request with these headers.
    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.http.request(method, format!("http://{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status(), response.headers().clone());
        let etag = headers.get("etag").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let text = response.text().await.expect("a body");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Answer {
            status,
            etag,
            headers,
            body,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, &format!("/api/v1{path}"), None, &[]).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, &format!("/api/v1{path}"), Some(body), &[])
            .await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, &format!("/api/v1{path}"), Some(body), &[])
            .await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, &format!("/api/v1{path}"), Some(body), &[]).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, &format!("/api/v1{path}"), None, &[]).await
    }

    /// Sends a write below a plan, with `If-Match` for this version.
    pub async fn write(&self, method: Method, path: &str, body: Option<&Value>, version: i64) -> Answer {
        self.send(
            method,
            &format!("/api/v1{path}"),
            body,
            &[("If-Match", &format!("\"{version}\""))],
        )
        .await
    }

    /// Opens a socket and connects.
    pub async fn socket(&self) -> Socket {
        let mut socket = Socket::open(self.address).await;
        socket.connect(self.token.as_deref().expect("signed in")).await;
        socket
    }

    /// Opens a socket with a small receive buffer and connects.
    pub async fn narrow_socket(&self) -> Socket {
        let mut socket = Socket::narrow(self.address).await;
        socket.connect(self.token.as_deref().expect("signed in")).await;
        socket
    }

    /// Opens a socket without connecting.
    pub async fn raw_socket(&self) -> Socket {
        Socket::open(self.address).await
    }
}
