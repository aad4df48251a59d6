//! The controller: a subject made of agents.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::wire::{
    ADDR, CODE, FAULTS, HEAD, LENGTH, MASK, NUMBER, OP, OPERANDS, Op, PATH, PAYLOAD, SIGNAL, VALUE,
    WANTED, WORDS, from_bytes, to_bytes,
};
use super::{broken, status};
use crate::subject::{
    Access, Accessed, Broken, Call, Caught, Door, Figures, Operand, Outside, Release, Returned,
    Subject, Sys, Transfer, Usage, Who,
};

/// An agent that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Agents of the host kernel, or of `recto run`, as a subject.
#[derive(Debug)]
pub struct Controller {
    release: Release,
    figures: Figures,
    socket: PathBuf,
    listener: UnixListener,
    child: Child,
    agents: Vec<Agent>,
}

#[derive(Debug)]
struct Agent {
    pid: u64,
    parent: Option<Who>,
    channel: UnixStream,
}

/// A reply, taken apart.
struct Reply {
    head: [u64; WORDS],
    bytes: Vec<u8>,
}

impl Reply {
    fn value(&self) -> i64 {
        self.head[VALUE].cast_signed()
    }

    fn caught(&self) -> Option<Caught> {
        let number = |word: u64| i32::try_from(word.cast_signed()).unwrap_or_default();
        let signal = number(self.head[SIGNAL]);
        let code = number(self.head[CODE]);
        (signal != 0).then(|| Caught {
            signal,
            code,
            addr: self.head[ADDR],
        })
    }
}

/// A request: its head with what all have in common, and its payload.
fn head(op: Op, number: u64, wanted: usize) -> [u64; WORDS] {
    let mut head = [0; WORDS];
    head[OP] = op as u64;
    head[NUMBER] = number;
    head[WANTED] = wanted as u64;
    head
}

impl Controller {
    /// Starts an agent: `command` is what runs it, without the path of the socket.
    pub fn start(
        mut command: Command,
        dir: &Path,
        release: Release,
        figures: Figures,
    ) -> Result<Self, Broken> {
        let socket = dir.join(".control");
        let listener = UnixListener::bind(&socket).map_err(broken)?;
        listener.set_nonblocking(true).map_err(broken)?;
        command
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let child = command
            .spawn()
            .map_err(|error| Broken(format!("{command:?}: {error}")))?;
        let mut controller = Self {
            release,
            figures,
            socket,
            listener,
            child,
            agents: Vec::new(),
        };
        controller.admit(None)?;
        Ok(controller)
    }

    /// Waits for an agent to connect and say who it is.
    fn admit(&mut self, parent: Option<Who>) -> Result<Who, Broken> {
        let start = Instant::now();
        let channel = loop {
            match self.listener.accept() {
                Ok((channel, _)) => break channel,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Err(broken(error));
                }
                Err(_) => {}
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                let last = self.last_words();
                return Err(Broken(format!(
                    "the agent ended before it began: {status}{last}"
                )));
            }
            if start.elapsed() > PATIENCE {
                return Err(Broken("the agent does not begin".into()));
            }
            thread::sleep(Duration::from_micros(200));
        };
        channel.set_nonblocking(false).map_err(broken)?;
        channel.set_read_timeout(Some(PATIENCE)).map_err(broken)?;
        self.agents.push(Agent {
            pid: 0,
            parent,
            channel,
        });
        let who = Who(self.agents.len() - 1);
        let pid = self.reply(who)?.head[VALUE];
        self.agents[who.0].pid = pid;
        Ok(who)
    }

    fn ask(&mut self, who: Who, mut head: [u64; WORDS], payload: &[u8]) -> Result<Reply, Broken> {
        if payload.len() > PAYLOAD {
            return Err(Broken("the payload is too long".into()));
        }
        head[LENGTH] = payload.len() as u64;
        let channel = &mut self.agents[who.0].channel;
        let sent = channel
            .write_all(&to_bytes(&head))
            .and_then(|()| channel.write_all(payload));
        if let Err(error) = sent {
            return Err(self.end(&error));
        }
        self.reply(who)
    }

    fn reply(&mut self, who: Who) -> Result<Reply, Broken> {
        let channel = &mut self.agents[who.0].channel;
        let mut head = [0; HEAD];
        let outcome = channel.read_exact(&mut head).and_then(|()| {
            let head = from_bytes(&head);
            let length = usize::try_from(head[LENGTH])
                .unwrap_or(PAYLOAD)
                .min(PAYLOAD);
            let mut bytes = vec![0; length];
            channel.read_exact(&mut bytes)?;
            Ok(Reply { head, bytes })
        });
        outcome.map_err(|error| self.end(&error))
    }

    /// Why an agent says nothing more.
    fn end(&mut self, error: &io::Error) -> Broken {
        if matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ) {
            return Broken(format!(
                "the subject hangs: nothing for {} s",
                PATIENCE.as_secs()
            ));
        }
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            if let Ok(Some(status)) = self.child.try_wait() {
                let last = self.last_words();
                return Broken(format!("the subject ended: {status}{last}"));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Broken(format!("the subject hung up: {error}"))
    }

    fn last_words(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // What was readable before an error is what there is.
            let _ = stderr.read_to_string(&mut text);
        }
        let line = text.lines().last().unwrap_or_default();
        if line.is_empty() {
            String::new()
        } else {
            format!(": {line}")
        }
    }

    fn file(&mut self, who: Who, path: &str) -> Result<String, Broken> {
        let reply = self.ask(who, head(Op::File, 0, 0), path.as_bytes())?;
        if reply.value() < 0 {
            return Err(Broken(format!("{path} cannot be read by the agent")));
        }
        String::from_utf8(reply.bytes).map_err(|error| Broken(error.to_string()))
    }
}

impl Controller {
    /// The limit that a case sets is the soft one: the hard one stays, so that it can go up again.
    fn with_hard_limit(&mut self, who: Who, call: &Call) -> Result<Vec<u8>, Broken> {
        let mut ask = head(Op::Call, libc::SYS_getrlimit.cast_unsigned(), 16);
        if let Operand::Value(resource) = call.operands[0] {
            ask[OPERANDS] = resource;
        }
        ask[MASK] = 0b10;
        let now = self.ask(who, ask, &[0; 16])?.bytes;
        Ok([&call.input[..8], &now[8..]].concat())
    }
}

impl Subject for Controller {
    fn release(&self) -> Release {
        self.release
    }

    fn figures(&self) -> Figures {
        self.figures
    }

    fn call(&mut self, who: Who, call: &Call) -> Result<Returned, Broken> {
        let number = call.sys.number().cast_unsigned();
        let mut head = head(Op::Call, number, call.output);
        for (place, operand) in call.operands.iter().enumerate() {
            match operand {
                Operand::Value(value) => head[OPERANDS + place] = *value,
                Operand::Buffer => head[MASK] |= 1 << place,
            }
        }
        let input = match call.sys {
            Sys::Setrlimit => self.with_hard_limit(who, call)?,
            _ => call.input.clone(),
        };
        let reply = self.ask(who, head, &input)?;
        Ok(Returned {
            value: reply.value(),
            output: reply.bytes,
        })
    }

    fn access(&mut self, who: Who, access: &Access) -> Result<Accessed, Broken> {
        let (op, addr, wanted, payload) = match access {
            Access::Load { addr, len } => (Op::Load, *addr, *len, &[][..]),
            Access::Store { addr, bytes } => (Op::Store, *addr, 0, bytes.as_slice()),
            Access::Execute { addr } => (Op::Execute, *addr, 0, &[][..]),
        };
        let mut head = head(op, 0, wanted);
        head[OPERANDS] = addr;
        let reply = self.ask(who, head, payload)?;
        let faults = reply.head[FAULTS];
        let result = match (reply.caught(), access) {
            (Some(caught), _) => Err(caught),
            (None, Access::Execute { .. }) => Ok(reply.value().to_le_bytes()[..4].to_vec()),
            (None, _) => Ok(reply.bytes),
        };
        Ok(Accessed { result, faults })
    }

    fn fork(&mut self, who: Who) -> Result<Result<Who, i32>, Broken> {
        let reply = self.ask(who, head(Op::Fork, 0, 0), &[])?;
        match i32::try_from(-reply.value()) {
            Ok(errno @ 1..) => Ok(Err(errno)),
            _ => self.admit(Some(who)).map(Ok),
        }
    }

    fn exit(&mut self, who: Who) -> Result<(), Broken> {
        let Agent {
            pid,
            parent,
            channel,
        } = &mut self.agents[who.0];
        let (pid, parent) = (
            *pid,
            parent.ok_or_else(|| Broken("main does not exit".into()))?,
        );
        channel
            .write_all(&to_bytes(&head(Op::Exit, 0, 0)))
            .map_err(broken)?;
        let mut wait = head(Op::Call, libc::SYS_wait4.cast_unsigned(), 0);
        wait[OPERANDS] = pid;
        let reply = self.ask(parent, wait, &[])?;
        if reply.value().cast_unsigned() == pid {
            Ok(())
        } else {
            Err(Broken(format!("wait4 returned {}", reply.value())))
        }
    }

    fn outside(&mut self, transfer: &Outside) -> Result<Returned, Broken> {
        let pid = self.agents[transfer.of.0].pid;
        let (direction, bytes, wanted) = match &transfer.transfer {
            Transfer::Read(len) => (0, &[][..], *len),
            Transfer::Write(bytes) => (1, bytes.as_slice(), bytes.len()),
        };
        let (op, path) = match transfer.door {
            Door::ProcessVm => (Op::ProcessVm, String::new()),
            Door::ProcMem => (Op::ProcMem, format!("/proc/{pid}/mem\0")),
        };
        let mut head = head(op, pid, wanted);
        head[OPERANDS] = transfer.addr;
        head[MASK] = direction;
        head[PATH] = path.len() as u64;
        let reply = self.ask(transfer.by, head, &[path.as_bytes(), bytes].concat())?;
        Ok(Returned {
            value: reply.value(),
            output: reply.bytes,
        })
    }

    fn maps(&mut self, who: Who) -> Result<String, Broken> {
        self.file(who, "/proc/self/maps")
    }

    fn usage(&mut self, who: Who) -> Result<Usage, Broken> {
        Ok(status::parse(&self.file(who, "/proc/self/status")?))
    }
}

impl Drop for Controller {
    /// Hangs up, so that the agents leave; who does not is killed.
    fn drop(&mut self) {
        self.agents.clear();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                break;
            }
            thread::sleep(Duration::from_micros(200));
        }
        // Both fail only if the process is gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}
