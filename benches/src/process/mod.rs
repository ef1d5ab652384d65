//! Brokers as processes of their own: what they are started with, and what they have used.

mod peers;
mod usage;

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// How long a broker may take to start.
const PATIENCE: Duration = Duration::from_secs(120);

pub use peers::MOSQUITTO;
pub use usage::{Calls, ProcessorTime};

/// A broker that runs until it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: SocketAddr,
    /// For MQTT 5, if that is elsewhere.
    v5: Option<SocketAddr>,
    http: Option<SocketAddr>,
    started_after: Duration,
}

impl Process {
    /// Starts a command whose broker listens on `address`, and waits until it does.
    ///
    /// # Errors
    ///
    /// If it does not start, or does not listen in time.
    pub fn start(command: &mut Command, address: SocketAddr) -> io::Result<Self> {
        let begin = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut process = Self {
            child,
            address,
            v5: None,
            http: None,
            started_after: Duration::ZERO,
        };
        while serves(address).is_err() {
            if begin.elapsed() > PATIENCE || process.child.try_wait()?.is_some() {
                let what = format!("{command:?} serves nobody on {address}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            thread::sleep(Duration::from_millis(2));
        }
        process.started_after = begin.elapsed();
        Ok(process)
    }

    /// Starts this house's broker with these arguments, and variables in its environment.
    ///
    /// # Errors
    ///
    /// See [`Process::start`].
    pub fn wherry(
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, String)],
    ) -> io::Result<Self> {
        let (address, http) = (free_address()?, free_address()?);
        let mut command = Command::new(program);
        command.args(["--listen", &format!("tcp://{address}")]);
        command.args(["--http", &http.to_string()]).args(arguments);
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut process = Self::start(command.stderr(Stdio::null()), address)?;
        process.http = Some(http);
        Ok(process)
    }

    /// Starts Debian's Mosquitto with these lines in its configuration; `directory` is where it
    /// may write.
    ///
    /// # Errors
    ///
    /// See [`Process::start`]; also if it is not installed.
    pub fn mosquitto(directory: &Path, lines: &str) -> io::Result<Self> {
        let address = free_address()?;
        let path = directory.join("mosquitto.conf");
        let port = address.port();
        let text =
            format!("listener {port} 127.0.0.1\nallow_anonymous true\nlog_dest none\n{lines}");
        fs::write(&path, text)?;
        Self::start(Command::new(installed()).arg("-c").arg(path), address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens to clients of MQTT 5.
    pub fn address_v5(&self) -> SocketAddr {
        self.v5.unwrap_or(self.address)
    }

    /// Its number among the processes.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How long it took from its start until it let a client in.
    pub fn started_after(&self) -> Duration {
        self.started_after
    }

    /// The processor time that it has used.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn processor_time(&self) -> io::Result<ProcessorTime> {
        ProcessorTime::of(self.id())
    }

    /// The memory that it holds, in bytes.
    ///
    /// # Errors
    ///
    /// If it has ended.
    pub fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        usage::resident(&status).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The reads and writes that it has made.
    ///
    /// # Errors
    ///
    /// If it has ended, or this process may not know.
    pub fn calls(&self) -> io::Result<Calls> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.id()))?;
        usage::calls(&io).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// One of the figures that it tells over HTTP.
    ///
    /// # Errors
    ///
    /// If it does not tell, or there is no such figure.
    pub fn metric(&self, name: &str) -> io::Result<f64> {
        let Some(http) = self.http else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let mut stream = TcpStream::connect(http)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let value = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, name.to_owned()))
    }

    /// Ends it at once, as a loss of power would.
    ///
    /// # Errors
    ///
    /// If the system does not do it.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }
}

/// The Mosquitto that is installed, wherever that is.
pub fn installed() -> &'static str {
    let mut places = peers::PLACES.into_iter();
    places
        .find(|program| Path::new(program).exists())
        .unwrap_or("mosquitto")
}

/// Whether a broker lets a client in.
fn serves(address: SocketAddr) -> io::Result<()> {
    /// CONNECT of MQTT 3.1.1 with a clean session and no identifier.
    const CONNECT: &[u8] = b"\x10\x0c\0\x04MQTT\x04\x02\0\x0a\0\0";
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(CONNECT)?;
    stream.read_exact(&mut [0; 4])
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listens on at the moment.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Where the binaries of the same build lie.
///
/// # Errors
///
/// If the system does not tell.
pub fn beside(name: &str) -> io::Result<PathBuf> {
    let path = env::current_exe()?.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    let what = format!(
        "{} is not there: build it first (cargo build --release)",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::NotFound, what))
}

/// A directory that is gone with its owner.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// An empty directory; `name` is for those who look.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub fn new(name: &str) -> io::Result<Self> {
        let path = env::temp_dir().join(format!("wherry-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The bytes of its files.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn size(&self) -> io::Result<u64> {
        let sizes = fs::read_dir(&self.0)?.map(|entry| Ok(entry?.metadata()?.len()));
        sizes.sum()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
