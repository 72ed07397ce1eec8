//! The reader thread: polls the sockets and obeys the swarm's orders.

use std::io::ErrorKind;
use std::sync::mpsc as std_mpsc;

use mio::{Events, Interest, Poll, Token};

use super::super::ledger::Cursor;
use super::books::{Books, Channel};
use super::socket::Socket;
use super::{Order, Times, Verdict};

/// Bytes read from a socket at once.
const BUFFER: usize = 256 * 1024;

pub(super) struct Reader {
    pub(super) poll: Poll,
    pub(super) inbox: std_mpsc::Receiver<Order>,
    pub(super) sockets: Vec<Option<Box<Socket>>>,
    pub(super) books: Books,
}

impl Reader {
    pub(super) fn run(&mut self) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; BUFFER];
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                other => other?,
            }
            // Orders come first: a command's announcement must be processed before its event.
            while let Ok(order) = self.inbox.try_recv() {
                if matches!(order, Order::Leave) {
                    return Ok(());
                }
                self.obey(order, &mut buffer)?;
            }
            for event in &events {
                if let Some(Some(socket)) = self.sockets.get_mut(event.token().0) {
                    socket.read(event.token().0, &mut buffer, &mut self.books);
                }
            }
            self.books.show();
        }
    }

    fn obey(&mut self, order: Order, buffer: &mut [u8]) -> anyhow::Result<()> {
        match order {
            Order::Join(key, mut socket, joined) => {
                for joined in joined {
                    let at = self.books.channel(&joined.position.channel);
                    let mut cursor = Cursor::at(joined.position.offset);
                    let ledger = &mut self.books.channels[at].ledger;
                    for offset in joined.replayed {
                        ledger.take(&mut cursor, offset, || (0, 0));
                    }
                    socket.subscriptions.push((at, cursor));
                }
                self.poll
                    .registry()
                    .register(&mut socket.stream, Token(key), Interest::READABLE)?;
                let early = std::mem::take(&mut socket.partial);
                socket.feed(key, &early, &mut self.books);
                socket.read(key, buffer, &mut self.books);
                if self.sockets.len() <= key {
                    self.sockets.resize_with(key + 1, || None);
                }
                self.sockets[key] = Some(socket);
            }
            Order::Write(key, bytes) => {
                if let Some(Some(socket)) = self.sockets.get_mut(key) {
                    socket.write(&bytes, &self.books);
                }
            }
            Order::Sent(channel, at) => self.books.of(&channel).sent.push_back(at),
            Order::Unsent(channel) => drop(self.books.of(&channel).sent.pop_back()),
            Order::Know(channel, offsets) => {
                let ledger = &mut self.books.of(&channel).ledger;
                for offset in offsets {
                    ledger.know(offset);
                }
            }
            // The caller may have gone away.
            Order::Times(sender) => drop(sender.send(std::mem::replace(&mut self.books.times, Times::new()?))),
            Order::Judge(sender) => drop(sender.send(self.judge())),
            Order::Leave => {}
        }
        Ok(())
    }

    fn judge(&self) -> Verdict {
        let mut verdict = Verdict::default();
        for (key, socket) in self.sockets.iter().enumerate() {
            let Some(socket) = socket else { continue };
            for (channel, cursor) in &socket.subscriptions {
                let channel = &self.books.channels[*channel];
                let who = format!("socket {key} on {}", channel.name);
                channel.ledger.judge(&who, cursor, &mut verdict.faults);
            }
            if let Some(end) = &socket.end
                && verdict.ends.len() < 5
            {
                verdict.ends.push(format!("socket {key}: {end}"));
            }
        }
        for Channel { name, ledger, .. } in &self.books.channels {
            verdict.publications.insert(name.clone(), ledger.after(0));
            verdict.last.insert(name.clone(), ledger.last());
        }
        verdict
    }
}
