//! An HTTP server that takes what webhooks are sent, and fails as it is told to.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use super::mosquitto::{LONG, free_address};

/// What it does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// Answers with this status, and this `Retry-After`.
    Status(u16, Option<&'static str>),
    /// Never answers.
    Hang,
    /// Closes the connection after it has read half of the request.
    CloseMidway,
    /// Closes the connection within its answer.
    EndWithin,
}

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Posted {
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// It was answered with 204.
    pub(crate) taken: bool,
}

impl Posted {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// See the module. It listens for as long as the test runs.
pub(crate) struct WebhookReceiver {
    pub(crate) address: SocketAddr,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    posted: Receiver<Posted>,
}

impl WebhookReceiver {
    pub(crate) fn new(answers: &[Answer]) -> Self {
        Self::at(free_address(), answers)
    }

    /// It takes everything after these `answers`.
    pub(crate) fn at(address: SocketAddr, answers: &[Answer]) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let answers: Arc<Mutex<VecDeque<_>>> = Arc::new(Mutex::new(answers.iter().copied().collect()));
        let (tell, posted) = channel();
        let script = answers.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, tell) = (script.clone(), tell.clone());
                std::thread::spawn(move || serve(stream, &script, &tell));
            }
        });
        Self { address, answers, posted }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Answers that are left.
    pub(crate) fn left(&self) -> usize {
        self.answers.lock().unwrap().len()
    }

    pub(crate) fn next(&self) -> Posted {
        self.posted.recv_timeout(2 * LONG).expect("something is posted")
    }

    /// The next that it took.
    pub(crate) fn next_taken(&self) -> Posted {
        std::iter::repeat_with(|| self.next()).find(|posted| posted.taken).unwrap()
    }

    pub(crate) fn try_next(&self, time: Duration) -> Option<Posted> {
        self.posted.recv_timeout(time).ok()
    }
}

/// Answers the requests of one connection.
fn serve(stream: TcpStream, script: &Mutex<VecDeque<Answer>>, tell: &Sender<Posted>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let path = line.split(' ').nth(1)?.to_string();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_lowercase(), value.to_string()));
        }
        let length: usize = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
        let answer = script.lock().unwrap().pop_front().unwrap_or(Answer::Status(204, None));
        let read = if matches!(answer, Answer::CloseMidway) { length / 2 } else { length };
        let mut body = vec![0; read];
        reader.read_exact(&mut body).ok()?;
        let taken = matches!(answer, Answer::Status(204, _));
        tell.send(Posted { path, headers, body: String::from_utf8(body).ok()?, taken }).ok()?;
        match answer {
            Answer::Status(status, retry_after) => {
                let retry_after = retry_after.map(|text| format!("Retry-After: {text}\r\n")).unwrap_or_default();
                let length = if status == 204 { "" } else { "Content-Length: 0\r\n" };
                write!(stream, "HTTP/1.1 {status} As Told\r\n{length}{retry_after}\r\n").ok()?;
            }
            Answer::Hang => std::thread::sleep(10 * LONG),
            Answer::CloseMidway => return None,
            Answer::EndWithin => {
                write!(stream, "HTTP/1.1 20").ok()?;
                return None;
            }
        }
    }
}
