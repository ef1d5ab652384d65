//! The brokers that Wherry is compared with: how each is started so that no limit of its own is
//! what is measured. None writes to a disk.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{fs, net::SocketAddr};

use super::{Process, free_address};

/// The lines that lift Mosquitto's limits.
pub const MOSQUITTO: &str =
    "max_inflight_messages 65535\nmax_queued_messages 0\nmax_queued_bytes 0\n";

/// Where Debian puts Mosquitto, which need not be in the path of a user, and where others do.
pub(super) const PLACES: [&str; 2] = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"];

impl Process {
    /// Starts the floor, which is no broker: see the program `floor`.
    ///
    /// # Errors
    ///
    /// See [`Process::start`].
    pub fn floor(program: &Path) -> io::Result<Self> {
        let address = free_address()?;
        Self::start(Command::new(program).arg(address.to_string()), address)
    }

    /// Starts rumqttd; `directory` is where its configuration may be written.
    ///
    /// # Errors
    ///
    /// See [`Process::start`].
    pub fn rumqttd(program: &Path, directory: &Path) -> io::Result<Self> {
        let (address, v5) = (free_address()?, free_address()?);
        let path = directory.join("rumqttd.toml");
        fs::write(&path, rumqttd(address, v5))?;
        let mut command = Command::new(program);
        command.arg("-q").arg("-c").arg(path).stderr(Stdio::null());
        let mut process = Self::start(&mut command, address)?;
        process.v5 = Some(v5);
        Ok(process)
    }

    /// Starts rmqttd; `directory` is where its configuration may be written.
    ///
    /// # Errors
    ///
    /// See [`Process::start`].
    pub fn rmqttd(program: &Path, directory: &Path) -> io::Result<Self> {
        let (address, rpc) = (free_address()?, free_address()?);
        let path = directory.join("rmqtt.toml");
        fs::write(&path, rmqttd(address, rpc, directory))?;
        fs::write(directory.join("rmqtt-retainer.toml"), RETAINER)?;
        let mut command = Command::new(program);
        command.arg("-f").arg(path).stderr(Stdio::null());
        Self::start(command.current_dir(directory), address)
    }
}

/// A configuration of rumqttd, which has a listener for each version of the protocol.
fn rumqttd(v4: SocketAddr, v5: SocketAddr) -> String {
    let listener = |table: &str, address| {
        format!(
            "[{table}.only]\nname = \"{table}\"\nlisten = \"{address}\"\n\
             next_connection_delay_ms = 0\n\
             [{table}.only.connections]\nconnection_timeout_ms = 60000\n\
             max_payload_size = 1000000\nmax_inflight_count = 65535\ndynamic_filters = true\n"
        )
    };
    let router = "id = 0\n[router]\nid = 0\nmax_connections = 100000\n\
                  max_outgoing_packet_count = 200\nmax_segment_size = 104857600\n\
                  max_segment_count = 40\n";
    format!("{router}{}{}", listener("v4", v4), listener("v5", v5))
}

/// A configuration of rmqttd.
fn rmqttd(address: SocketAddr, rpc: SocketAddr, directory: &Path) -> String {
    format!(
        "[node]\nid = 1\nbusy.check_enable = false\n\
         [rpc]\nserver_addr = \"{rpc}\"\n\
         [log]\nto = \"off\"\n\
         [plugins]\ndir = \"{}/\"\ndefault_startups = [\"rmqtt-retainer\"]\n\
         disabled_default_startups = [\"rmqtt-http-api\", \"rmqtt-acl\", \"rmqtt-counter\"]\n\
         [listener.tcp.external]\naddr = \"{address}\"\nmax_connections = 1000000\n\
         max_handshaking_limit = 100000\nallow_anonymous = true\nallow_zero_keepalive = true\n\
         max_inflight = 65535\nmax_mqueue_len = 1000000\nmqueue_rate_limit = \"1000000,1s\"\n\
         max_subscriptions = 0\nmax_topic_levels = 0\n",
        directory.display()
    )
}

/// How rmqttd keeps retained messages, and how many.
const RETAINER: &str = "storage.type = \"ram\"\nmax_retained_messages = 0\n\
                        max_payload_size = \"1MB\"\n";
