//! Real sessions with a peer whose bytes a fuzzer has made up.
//!
//! A script is what the peer says on the control connection, in parts that are divided by [`NEXT_PART`]. Each
//! part but the first waits for a word of the session, so that a script can get through a whole test. Behind
//! its last part the peer says nothing more, and a session ends with that.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use crate::config::{
    ClientConfig, Direction, EndCondition, Family, LocalConfig, OutputConfig, ServerConfig, TestConfig,
};
use crate::control::embedded::EmbeddedServer;
use crate::control::run_client;
use crate::protocol::{Cookie, State};
use crate::report::{Observer, ReportHandle, Sink, TextReporter};

/// Divides a script; no byte of JSON in ASCII and no state.
const NEXT_PART: u8 = 0x80;
/// The session has nothing more to say until the peer goes on.
const SILENCE: Duration = Duration::from_millis(50);
/// Data connections of the largest script.
const STREAMS_MAX: u8 = 3;

/// One server for all scripts: what one leaves behind is there for the next.
static SERVER: LazyLock<EmbeddedServer> = LazyLock::new(|| {
    EmbeddedServer::start(ServerConfig::on_loopback(Family::V4))
        .expect("a port of the loopback device is free")
});

/// A client that says this to a server. The first byte is the number of its data connections.
///
/// The parts are said at once, when the test runs, when results are exchanged and when they are shown.
pub(crate) fn converse_with_server(script: &[u8]) {
    let Some((&streams, words)) = script.split_first() else { return };
    // Whatever the server does to the connection is an answer; it must be there for the next script.
    let _ = play_client(SERVER.port(), streams % (STREAMS_MAX + 1), words);
}

fn play_client(port: u16, streams: u8, words: &[u8]) -> io::Result<()> {
    const COOKIE: [u8; Cookie::LEN] = *b"abcdefghijklmnopqrstuvwxyz2345672345\0";
    let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let mut parts = words.split(|byte| *byte == NEXT_PART);
    let mut control = connect()?;
    control.set_read_timeout(Some(SILENCE))?;
    control.write_all(&COOKIE)?;
    control.read_exact(&mut [0])?;
    control.write_all(parts.next().unwrap_or_default())?;
    let mut opened = Vec::new();
    let mut byte = [0];
    for part in parts {
        loop {
            if control.read_exact(&mut byte).is_err() {
                break;
            }
            match State::from_byte(byte[0]) {
                Some(State::CreateStreams) if opened.is_empty() => {
                    for _ in 0..streams {
                        let mut stream = connect()?;
                        stream.write_all(&COOKIE)?;
                        opened.push(stream);
                    }
                }
                Some(State::TestRunning | State::ExchangeResults | State::DisplayResults) => break,
                _ => {}
            }
        }
        control.write_all(part)?;
    }
    hang_up(&mut control)
}

/// A server that says this to a client. The first byte chooses the client's options.
///
/// The parts are said at once and when the client has ended the test.
pub(crate) fn converse_with_client(script: &[u8]) {
    let Some((&choice, words)) = script.split_first() else { return };
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of the loopback device is free");
    let port = listener.local_addr().expect("it is bound").port();
    thread::scope(|scope| {
        scope.spawn(move || play_server(&listener, words));
        let output = OutputConfig { verbose: true, debug: 4, ..OutputConfig::default() };
        let observer = Observer::new(Box::new(TextReporter::new(&output)), Sink::Nowhere);
        let report = ReportHandle::start(vec![observer]).expect("the system has room for a thread");
        // How it ends is the client's affair; that it ends with a result or a reason is what is looked at.
        let outcome = run_client(&client_config(port, choice, output), &report, || Ok(()));
        assert!(outcome.error.is_some() || outcome.end.is_some(), "{outcome:?}");
        report.finish().expect("nothing is written anywhere");
        // The accepting thread takes this for the end. The first stands in for a client that never came.
        for _ in 0..2 {
            let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        }
    });
}

fn client_config(port: u16, choice: u8, output: OutputConfig) -> ClientConfig {
    let direction = match choice % 4 {
        0 | 1 => Direction::Forward,
        2 => Direction::Reverse,
        _ => Direction::Bidir,
    };
    let test = TestConfig {
        direction,
        parallel: 1 + u32::from(choice / 4 % 2),
        end: EndCondition::Bytes(1),
        server_output: choice & 8 != 0,
        ..TestConfig::default()
    };
    ClientConfig {
        port,
        local: LocalConfig { family: Family::V4, ..LocalConfig::default() },
        connect_timeout: Duration::from_secs(1),
        output,
        ..ClientConfig::new(Ipv4Addr::LOCALHOST.to_string(), test)
    }
}

/// Plays until the first connection ends. Those that come after it are data connections, and are kept.
fn play_server(listener: &TcpListener, words: &[u8]) -> io::Result<()> {
    let (mut control, _) = listener.accept()?;
    control.set_read_timeout(Some(SILENCE))?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut streams = Vec::new();
            // The connection that ends this has no cookie.
            while let Ok((mut stream, _)) = listener.accept() {
                if stream.read_exact(&mut [0; Cookie::LEN]).is_err() {
                    break;
                }
                streams.push(stream);
            }
        });
        let _ = speak(&mut control, words);
        hang_up(&mut control)
    })
}

fn speak(control: &mut TcpStream, words: &[u8]) -> io::Result<()> {
    let mut parts = words.split(|byte| *byte == NEXT_PART);
    control.read_exact(&mut [0; Cookie::LEN])?;
    control.write_all(parts.next().unwrap_or_default())?;
    for part in parts {
        // Parameters, then the state that ends the test.
        let mut word = [0; 4];
        if control.read_exact(&mut word).is_ok() {
            let length = u64::from(u32::from_be_bytes(word));
            io::copy(&mut Read::take(&mut *control, length), &mut io::sink())?;
            let _ = control.read_exact(&mut [0]);
        }
        control.write_all(part)?;
    }
    Ok(())
}

/// Says nothing more and listens to the end.
fn hang_up(control: &mut TcpStream) -> io::Result<()> {
    control.shutdown(Shutdown::Write)?;
    control.set_read_timeout(Some(Duration::from_secs(10)))?;
    io::copy(control, &mut io::sink()).map(drop)
}
