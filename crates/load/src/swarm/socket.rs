//! A socket: turns its bytes into frames, and its frames into messages.

use std::io::{ErrorKind, Read as _, Write as _};
use std::sync::atomic::Ordering;

use mio::net::TcpStream;

use super::super::ledger::Cursor;
use super::super::stream::{self, Frame, Garbled, Message};
use super::books::Books;
use super::{Answered, Speech};
use crate::wire::Codec;

pub(super) struct Socket {
    pub(super) stream: TcpStream,
    pub(super) speech: Speech,
    /// The bytes of an incomplete frame.
    pub(super) partial: Vec<u8>,
    pub(super) subscriptions: Vec<(usize, Cursor)>,
    pub(super) end: Option<String>,
}

impl Socket {
    /// Reads what is available. A read that does not fill the buffer means that nothing is left for now.
    pub(super) fn read(&mut self, key: usize, buffer: &mut [u8], books: &mut Books) {
        while self.end.is_none() {
            match self.stream.read(buffer) {
                Ok(0) => self.ended("the server closed the connection", books),
                Ok(length) => {
                    books.bytes += length as u64;
                    self.feed(key, &buffer[..length], books);
                    if length < buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => self.ended(&error.to_string(), books),
            }
        }
    }

    /// Parses the complete frames in `bytes` and keeps the rest.
    pub(super) fn feed(&mut self, key: usize, bytes: &[u8], books: &mut Books) {
        let now = stream::now();
        if self.partial.is_empty() {
            let used = self.frames(key, bytes, now, books);
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(bytes);
            let used = self.frames(key, &whole, now, books);
            whole.drain(..used);
            self.partial = whole;
        }
    }

    fn frames(&mut self, key: usize, bytes: &[u8], now: u64, books: &mut Books) -> usize {
        let mut used = 0;
        while self.end.is_none() {
            match stream::frame(&bytes[used..]) {
                Ok(None) => break,
                Ok(Some((frame, length))) => {
                    used += length;
                    let read = match frame {
                        Frame::Data(payload) => self.payload(key, payload, now, books),
                        Frame::Close(code) => {
                            self.ended(&format!("closed with {}", code.unwrap_or_default()), books);
                            Ok(())
                        }
                        Frame::Other => Ok(()),
                    };
                    if read.is_err() {
                        self.ended("the server violated the client protocol", books);
                    }
                }
                Err(Garbled) => self.ended("the server violated the WebSocket protocol", books),
            }
        }
        used
    }

    fn payload(&mut self, key: usize, payload: &[u8], now: u64, books: &mut Books) -> Result<(), Garbled> {
        let codec = match self.speech {
            Speech::Protocol(codec) => codec,
            Speech::Frames { ping, pong } if payload == ping => {
                self.write(&stream::masked(Codec::Json, pong), books);
                return Ok(());
            }
            Speech::Frames { .. } => {
                books.deliveries += 1;
                return Ok(());
            }
        };
        let (mut pings, mut gone) = (false, false);
        let subscriptions = &mut self.subscriptions;
        stream::messages(codec, payload, |message| match message {
            Message::Publication { channel, offset, data } => {
                books.delivered(subscriptions, channel, offset, data, now);
            }
            Message::Ping => pings = true,
            Message::Reply { id, accepted } => {
                // If the queue is full, nobody is waiting for this many replies.
                let _ = books.answer.try_send(Answered { key, id, accepted });
            }
            // This tool never unsubscribes, so the push is the server's unsubscribe.
            Message::Push(_) => gone = true,
        })?;
        if pings {
            self.write(&stream::masked(codec, codec.ping()), books);
        }
        if gone {
            self.ended("the server ended a subscription", books);
        }
        Ok(())
    }

    pub(super) fn write(&mut self, bytes: &[u8], books: &Books) {
        match self.stream.write(bytes) {
            Ok(length) if length == bytes.len() => {}
            Ok(_) => self.ended("the socket's send buffer is full", books),
            Err(error) => self.ended(&format!("cannot write: {error}"), books),
        }
    }

    fn ended(&mut self, why: &str, books: &Books) {
        if self.end.is_none() {
            self.end = Some(why.to_owned());
            books.shared.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
