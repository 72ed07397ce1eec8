//! A signed-in device: REST requests with its token.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Timeout of a request or a command.
pub(crate) const WITHIN: Duration = Duration::from_secs(15);
/// Seconds before expiry at which a token is refreshed.
const FRESH_FOR: u64 = 120;

/// A signed-in device.
pub struct Device {
    http: reqwest::Client,
    base: String,
    access: String,
    refresh: String,
    renew_at: Instant,
}

impl Device {
    /// Signs in.
    ///
    /// # Errors
    /// No server answers, or it refuses the sign-in.
    pub async fn sign_in(url: &str, email: &str, password: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(WITHIN).build()?;
        let base = url.trim_end_matches('/').to_owned();
        let body = json!({"email": email, "password": password});
        let answer = http.post(format!("{base}/api/v1/auth/login")).json(&body).send().await;
        let answer = answer.with_context(|| format!("nothing answers at {base}; does `liveplan demo` run there?"))?;
        let status = answer.status();
        let tokens: Value = answer.json().await?;
        if !status.is_success() {
            bail!(
                "signing in was refused: {}",
                tokens["detail"].as_str().unwrap_or(status.as_str())
            );
        }
        let mut device = Self {
            http,
            base,
            access: String::new(),
            refresh: String::new(),
            renew_at: Instant::now(),
        };
        device.keep(&tokens)?;
        Ok(device)
    }

    fn keep(&mut self, tokens: &Value) -> anyhow::Result<()> {
        let field = |name: &str| tokens[name].as_str().map(str::to_owned).context("no tokens");
        self.access = field("access_token")?;
        self.refresh = field("refresh_token")?;
        let life = tokens["expires_in"].as_u64().context("no expires_in")?;
        self.renew_at = Instant::now() + Duration::from_secs(life.saturating_sub(FRESH_FOR.min(life / 2)));
        Ok(())
    }

    /// Refreshes the token if it expires soon, and returns whether it did.
    ///
    /// # Errors
    /// The server refuses or does not answer.
    pub async fn keep_fresh(&mut self) -> anyhow::Result<bool> {
        if Instant::now() < self.renew_at {
            return Ok(false);
        }
        let body = json!({"refresh_token": self.refresh});
        let answer = self
            .http
            .post(format!("{}/api/v1/auth/refresh", self.base))
            .json(&body)
            .send()
            .await?;
        self.keep(&answer.error_for_status()?.json().await?)?;
        Ok(true)
    }

    /// The access token.
    pub fn token(&self) -> &str {
        &self.access
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// The server refuses or does not answer.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.request(Method::GET, path).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    /// Posts a body, and returns whether the server accepted it.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<bool> {
        let answer = self.request(Method::POST, path).json(body).send().await?;
        Ok(answer.status().is_success())
    }

    /// Deletes a resource, and returns whether the server accepted it.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn delete(&self, path: &str) -> anyhow::Result<bool> {
        Ok(self.request(Method::DELETE, path).send().await?.status().is_success())
    }

    /// Patches a resource, with the version last read in `If-Match`; returns the answer's status and body.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn patch(&self, path: &str, body: &Value, version: &Value) -> anyhow::Result<(StatusCode, Value)> {
        let request = self.request(Method::PATCH, path).json(body);
        let answer = request.header("If-Match", format!("\"{version}\"")).send().await?;
        Ok((answer.status(), answer.json().await?))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}/api/v1{path}", self.base))
            .bearer_auth(&self.access)
    }
}
