//! `GET /plans/{id}` with 7 days, 5 meals a day and 4 items a meal, over keep-alive connections.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use liveplan_load::process::cpu;

use super::results::Results;
use super::stage::Stage;
use super::stats::{ms, quantile};

const CONNECTIONS: usize = 16;
const SECONDS: u64 = 6;

pub async fn run(stage: &Stage, results: &mut Results) {
    let gym = stage.gym().await;
    let get = |more: &str| {
        format!(
            "GET /api/v1/plans/{} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{more}\r\n",
            gym.plan, stage.address, gym.author.token
        )
    };
    let (_, etag, bytes) = once(stage, &get("")).await;
    results.say(format!(
        "\nGET /plans/{{id}}: {CONNECTIONS} connections, {SECONDS} s each, {bytes} bytes of JSON"
    ));
    for (name, request) in [
        ("whole", get("")),
        ("gzip", get("Accept-Encoding: gzip\r\n")),
        ("If-None-Match", get(&format!("If-None-Match: {etag}\r\n"))),
    ] {
        let before = cpu(stage.pid()).expect("it runs");
        let began = Instant::now();
        let mut times = load(stage, &request).await;
        let (wall, used) = (
            began.elapsed(),
            cpu(stage.pid()).expect("it runs").saturating_sub(before),
        );
        let count = u32::try_from(times.len()).expect("fits");
        results.say(format!(
            "  {name}: {:.0} per second, p50 {} p99 {}, server CPU {:.0} µs a request",
            f64::from(count) / wall.as_secs_f64(),
            ms(quantile(&mut times, 0.5)),
            ms(quantile(&mut times, 0.99)),
            used.as_secs_f64() * 1e6 / f64::from(count)
        ));
        results.number(name, f64::from(count) / wall.as_secs_f64());
    }
}

/// Status, ETag and body length of the answer to one request.
async fn once(stage: &Stage, request: &str) -> (u16, String, usize) {
    let mut connection = TcpStream::connect(&stage.address).await.expect("connected");
    let mut buffer = Vec::new();
    exchange(&mut connection, request, &mut buffer).await
}

async fn load(stage: &Stage, request: &str) -> Vec<Duration> {
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (address, request) = (stage.address.clone(), request.to_owned());
        tasks.spawn(async move {
            let mut connection = TcpStream::connect(&address).await.expect("connected");
            let (mut times, mut buffer) = (Vec::new(), Vec::new());
            while Instant::now() < until {
                let begun = Instant::now();
                let (status, ..) = exchange(&mut connection, &request, &mut buffer).await;
                assert!(status == 200 || status == 304, "{status}");
                times.push(begun.elapsed());
            }
            times
        });
    }
    tasks.join_all().await.concat()
}

async fn exchange(connection: &mut TcpStream, request: &str, buffer: &mut Vec<u8>) -> (u16, String, usize) {
    connection.write_all(request.as_bytes()).await.expect("sent");
    buffer.clear();
    let head = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        assert!(connection.read_buf(buffer).await.expect("read") > 0, "closed");
    };
    let text = std::str::from_utf8(&buffer[..head]).expect("headers");
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim().to_owned())
    };
    let status = text[9..12].parse().expect("a status");
    let length: usize = field("content-length").map_or(0, |length| length.parse().expect("a length"));
    let etag = field("etag").unwrap_or_default();
    while buffer.len() < head + length {
        assert!(connection.read_buf(buffer).await.expect("read") > 0, "closed");
    }
    (status, etag, length)
}
