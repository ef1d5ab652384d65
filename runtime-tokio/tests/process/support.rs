//! A broker process, and clients that speak just enough MQTT.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything takes that works, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_wherry");

pub(crate) struct Broker {
    process: Child,
    lines: Receiver<String>,
    /// What it has logged and `wait_for` has seen.
    pub(crate) log: Vec<String>,
    pub(crate) address: SocketAddr,
}

impl Broker {
    pub(crate) fn start(options: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["--port", "0"]).args(options);
        Self::start_with(command)
    }

    /// Starts it as `command`, which must ask for port 0, and waits until it listens.
    pub(crate) fn start_with(mut command: Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap());
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut broker = Self {
            process,
            lines,
            log: Vec::new(),
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let line = broker.wait_for("listening on tcp://");
        let (_, address) = line.split_once("tcp://").unwrap();
        broker.address = address.parse().unwrap();
        broker
    }

    /// The next line of the log that contains `part`.
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        loop {
            let line = self
                .lines
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|_| panic!("no line with '{part}' after {:#?}", self.log));
            self.log.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Waits for its end; returns its exit code and leaves the whole log in `log`.
    pub(crate) fn end(&mut self) -> Option<i32> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.log.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(timeout) => panic!("it does not end: {timeout}; {:#?}", self.log),
            }
        }
        self.process.wait().unwrap().code()
    }

    /// The processor time it has used so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.pid().as_raw_nonzero());
        let stat = std::fs::read_to_string(path).unwrap();
        // The name, in parentheses, may contain blanks; utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) struct Client(TcpStream);

impl Client {
    /// Connects without a word.
    pub(crate) fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Connects with MQTT 3.1.1. `None` if the broker closed the connection instead of answering.
    pub(crate) fn connect(address: SocketAddr, name: u8) -> Option<Self> {
        let mut client = Self::open(address);
        let packet = [
            0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 1, name,
        ];
        let mut answer = [0; 4];
        client
            .0
            .write_all(&packet)
            .and_then(|()| client.0.read_exact(&mut answer))
            .inspect_err(assert_is_end)
            .ok()?;
        assert_eq!(answer, [0x20, 2, 0, 0], "CONNACK");
        Some(client)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next packet. Its remaining length must fit one byte.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        let mut header = [0; 2];
        self.0.read_exact(&mut header).unwrap();
        assert!(header[1] < 128);
        let mut packet = vec![0; 2 + usize::from(header[1])];
        packet[..2].copy_from_slice(&header);
        self.0.read_exact(&mut packet[2..]).unwrap();
        packet
    }

    /// Waits until the broker has closed the connection; nothing may come before.
    pub(crate) fn is_closed(&mut self) {
        match self.0.read(&mut [0; 16]) {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => assert_is_end(&error),
        }
    }

    pub(crate) fn ping(&mut self) {
        self.send(&[0xc0, 0]);
        assert_eq!(self.packet(), [0xd0, 0]);
    }
}

fn assert_is_end(error: &io::Error) {
    assert!(
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
        ),
        "{error}"
    );
}
