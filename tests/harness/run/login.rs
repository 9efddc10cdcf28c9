//! Keys, users and tokens, all made by the `openssl` program.

use std::fmt::Display;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use crate::harness::{Checked, Failure, Finished, Program, Server, ensure, run};

/// The user that most tests are about, and the password.
pub const USER: &str = "mario";
pub const PASSWORD: &str = "rossi";

/// The folder with all of it, made by the first test that needs it. It has
/// - `private.pem` and `public.pem`, a pair, and `traditional.pem`, its private key in the older form;
/// - `other-private.pem` and `other-public.pem`, somebody else's pair;
/// - `small-private.pem` and `small-public.pem`, which nobody should use;
/// - `users.csv`, in which the user stands between others.
pub fn folder() -> Checked<PathBuf> {
    static FOLDER: OnceLock<Checked<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(make_folder).clone()
}

/// Two ways to pad a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// iperf3 since 3.17.
    Oaep,
    /// iperf3 before.
    Pkcs1,
}

/// Starts a server that lets in the users of [`folder`].
pub fn start_server(program: &Program, options: &str) -> Checked<Server> {
    let folder = folder()?;
    let folder = folder.display();
    let files =
        format!("--rsa-private-key-path {folder}/private.pem --authorized-users-path {folder}/users.csv");
    Server::start(program, &format!("{files} {options}"))
}

/// Who a client says it is.
#[derive(Clone, Copy, Debug)]
pub struct Login {
    pub user: &'static str,
    pub password: &'static str,
    /// The file of the server's public key, in [`folder`].
    pub key: &'static str,
}

impl Login {
    /// The user of most tests.
    pub const RIGHT: Self = Self { user: USER, password: PASSWORD, key: "public.pem" };

    /// A client that runs a short test.
    pub fn command(&self, program: &Program, port: u16, options: &str) -> Checked<Command> {
        let Self { user, password, key } = self;
        let key = folder()?.join(key);
        let mut command = program.command(&format!("-c 127.0.0.1 -p {port} -n 64K {options}"));
        command.args(["--username", user, "--rsa-public-key-path"]).arg(key).env("IPERF3_PASSWORD", password);
        Ok(command)
    }

    /// Runs such a client to its end.
    pub fn run(&self, program: &Program, port: u16, options: &str) -> Checked<Finished> {
        run(self.command(program, port, options)?)
    }
}

/// A token that says this, for the key in that file of [`folder`].
pub fn token(plaintext: &str, padding: Padding, key: &str) -> Checked<String> {
    let key = folder()?.join(key);
    let padding = match padding {
        Padding::Oaep => "rsa_padding_mode:oaep",
        Padding::Pkcs1 => "rsa_padding_mode:pkcs1",
    };
    let key = key.display();
    let ciphertext =
        openssl(&format!("pkeyutl -encrypt -pubin -inkey {key} -pkeyopt {padding}"), plaintext.as_bytes())?;
    base64(&ciphertext)
}

/// What a client says to log in, this many seconds from now.
pub fn claim(user: &str, password: &str, seconds_from_now: i64) -> Checked<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let time = i64::try_from(now).map_err(broken)?.saturating_add(seconds_from_now);
    Ok(format!("user: {user}\npwd:  {password}\nts:   {time}"))
}

pub fn base64(bytes: &[u8]) -> Checked<String> {
    String::from_utf8(openssl("base64 -A", bytes)?).map_err(broken)
}

fn make_folder() -> Checked<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("keys-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let path = |name: &str| folder.join(name).display().to_string();
    for (pair, bits) in [("", 2048), ("other-", 2048), ("small-", 1024)] {
        let (private, public) = (path(&format!("{pair}private.pem")), path(&format!("{pair}public.pem")));
        openssl(&format!("genrsa -out {private} {bits}"), b"")?;
        openssl(&format!("rsa -in {private} -pubout -out {public}"), b"")?;
    }
    openssl(&format!("rsa -in {} -traditional -out {}", path("private.pem"), path("traditional.pem")), b"")?;
    let user = |name: &str, password: &str| {
        let hash = openssl("dgst -sha256 -r", format!("{{{name}}}{password}").as_bytes())?;
        let hash = String::from_utf8(hash).map_err(broken)?;
        Checked::Ok(format!("{name},{}\n", hash.split_whitespace().next().unwrap_or_default()))
    };
    let users = ["# Users\n".to_owned(), user("luigi", "verdi")?, user(USER, PASSWORD)?, user("peach", "p")?];
    fs::write(path("users.csv"), users.concat())?;
    Ok(folder)
}

/// What the program writes for these arguments and this input.
fn openssl(arguments: &str, input: &[u8]) -> Checked<Vec<u8>> {
    let mut child = Command::new("openssl")
        .args(arguments.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| Failure(format!("cannot run openssl: {error}")))?;
    let (mut stdin, mut stdout) = (child.stdin.take(), child.stdout.take());
    // A program that needs no input may have left already.
    let _ = stdin.take().expect("it was set to be a pipe").write_all(input);
    let mut output = Vec::new();
    stdout.take().expect("it was set to be a pipe").read_to_end(&mut output)?;
    let status = child.wait()?;
    ensure!(status.success(), "openssl {arguments} failed: {status}");
    Ok(output)
}

fn broken(error: impl Display) -> Failure {
    Failure(error.to_string())
}
