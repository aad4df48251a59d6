//! What each verb asks of the subject.

use crate::case::{Arg, Expect, Step, Verb, area_lines};
use crate::subject::{
    Access, Accessed, Broken, Call, Door, Operand, Outside, Returned, Sys, Transfer, Usage, Who,
};

use super::{Observed, Performance, Seen};

impl Performance<'_> {
    /// Performs a step and says what was seen.
    pub(super) fn observe(&mut self, step: &Step) -> Result<Seen, Broken> {
        let who = self.who(step.who.as_deref())?;
        match step.verb {
            Verb::Plain(sys) => self.plain(who, sys, step),
            Verb::Mmap => self.mmap(who, step),
            Verb::Mincore => self.mincore(who, step),
            Verb::Open => self.open(who, step),
            Verb::MemfdCreate => self.memfd_create(who, step),
            Verb::Pwrite => self.pwrite(who, step),
            Verb::Pread => self.pread(who, step),
            Verb::Setrlimit => self.setrlimit(who, step),
            Verb::Load => {
                let len = length(self.number(step, 1)?)?;
                let addr = self.number(step, 0)?;
                self.access(who, &Access::Load { addr, len })
            }
            Verb::Store => {
                let bytes = literal(step, 1)?.to_vec();
                let addr = self.number(step, 0)?;
                self.access(who, &Access::Store { addr, bytes })
            }
            Verb::Execute => self.execute(who, step),
            Verb::Fork => self.fork(who, step),
            Verb::Exit => {
                self.subject.exit(who)?;
                Ok(Seen::new(Observed::Value(0)))
            }
            Verb::Peek(door) => self.peek(who, door, step),
            Verb::Poke(door) => self.poke(who, door, step),
            Verb::Maps => self.maps(who, step),
            Verb::Counter => self.counter(who, step),
        }
    }

    /// A system call whose arguments are numbers.
    pub(super) fn system_call(
        &mut self,
        who: Who,
        sys: Sys,
        values: &[u64],
    ) -> Result<Returned, Broken> {
        let mut operands = [Operand::Value(0); 6];
        for (operand, value) in operands.iter_mut().zip(values) {
            *operand = Operand::Value(*value);
        }
        self.subject.call(
            who,
            &Call {
                sys,
                operands,
                input: Vec::new(),
                output: 0,
            },
        )
    }

    fn numbers(&self, step: &Step) -> Result<Vec<u64>, Broken> {
        (0..step.args.len())
            .map(|place| self.number(step, place))
            .collect()
    }

    fn plain(&mut self, who: Who, sys: Sys, step: &Step) -> Result<Seen, Broken> {
        let values = self.numbers(step)?;
        Ok(Seen::returned(self.system_call(who, sys, &values)?.value))
    }

    fn mmap(&mut self, who: Who, step: &Step) -> Result<Seen, Broken> {
        let mut values = self.numbers(step)?;
        if values.len() < 5 {
            values.push(u64::MAX);
        }
        Ok(Seen::returned(
            self.system_call(who, Sys::Mmap, &values)?.value,
        ))
    }

    fn mincore(&mut self, who: Who, step: &Step) -> Result<Seen, Broken> {
        let values = self.numbers(step)?;
        if values.len() > 2 {
            return Ok(Seen::returned(
                self.system_call(who, Sys::Mincore, &values)?.value,
            ));
        }
        let pages = length(values[1].div_ceil(4096).min(1 << 14))?;
        let [addr, len] = [values[0], values[1]].map(Operand::Value);
        let zero = Operand::Value(0);
        let operands = [addr, len, Operand::Buffer, zero, zero, zero];
        let input = vec![0; pages];
        let call = Call {
            sys: Sys::Mincore,
            operands,
            input,
            output: pages,
        };
        let returned = self.subject.call(who, &call)?;
        if returned.value != 0 {
            return Ok(Seen::returned(returned.value));
        }
        let digit = |byte: &u8| if byte & 1 == 1 { '1' } else { '0' };
        Ok(Seen::new(Observed::Pages(
            returned.output.iter().map(digit).collect(),
        )))
    }

    fn open(&mut self, who: Who, step: &Step) -> Result<Seen, Broken> {
        let path = match named(step, 0)? {
            "zero" => "/dev/zero".to_string(),
            name => format!("{}/{name}", self.dir),
        };
        let zero = Operand::Value(0);
        let flags = Operand::Value(self.number(step, 1)?);
        let operands = [
            Operand::Buffer,
            flags,
            Operand::Value(0o600),
            zero,
            zero,
            zero,
        ];
        self.buffered(who, Sys::Open, operands, terminated(&path))
    }

    fn memfd_create(&mut self, who: Who, step: &Step) -> Result<Seen, Broken> {
        let zero = Operand::Value(0);
        let flags = Operand::Value(self.number(step, 1)?);
        let operands = [Operand::Buffer, flags, zero, zero, zero, zero];
        self.buffered(who, Sys::MemfdCreate, operands, terminated(named(step, 0)?))
    }

    fn pwrite(&mut self, who: Who, step: &Step) -> Result<Seen, Broken> {
        let bytes = literal(step, 1)?.to_vec();
        let [fd, len, offset] = [
            self.number(step, 0)?,
            bytes.len() as u64,
            self.number(step, 2)?,
        ]
        .map(Operand::Value);
        let zero = Operand::Value(0);
        let operands = [fd, Operand::Buffer, len, offset, zero, zero];
        self.buffered(who, Sys::Pwrite, operands, bytes)
    }

    fn buffered(
        &mut self,
        who: Who,
        sys: Sys,
        operands: [Operand; 6],
        input: Vec<u8>,
    ) -> Result<Seen, Broken> {
        let call = Call {
            sys,
            operands,
            input,
            output: 0,
        };
        Ok(Seen::returned(self.subject.call(who, &call)?.value))
    }

    fn pread(&mut self, who: Who, step: &Step) -> Result<Seen, Broken> {
        let len = length(self.number(step, 1)?)?;
        let [fd, count, offset] =
            [self.number(step, 0)?, len as u64, self.number(step, 2)?].map(Operand::Value);
        let zero = Operand::Value(0);
        let operands = [fd, Operand::Buffer, count, offset, zero, zero];
        let call = Call {
            sys: Sys::Pread,
            operands,
            input: vec![0; len],
            output: len,
        };
        let returned = self.subject.call(who, &call)?;
        Ok(bytes_or_errno(returned))
    }

    /// `now` is what the space uses of the resource.
    fn setrlimit(&mut self, who: Who, step: &Step) -> Result<Seen, Broken> {
        let usage = self.subject.usage(who)?;
        let resource = self.number(step, 0)?;
        let now = match resource {
            2 => usage.data,
            3 => usage.stack,
            8 => usage.locked,
            _ => usage.total,
        };
        self.symbols.insert("now".into(), now);
        let limit = self.number(step, 1)?.to_le_bytes();
        let input = [limit, u64::MAX.to_le_bytes()].concat();
        let zero = Operand::Value(0);
        let operands = [
            Operand::Value(resource),
            Operand::Buffer,
            zero,
            zero,
            zero,
            zero,
        ];
        self.buffered(who, Sys::Setrlimit, operands, input)
    }

    fn access(&mut self, who: Who, access: &Access) -> Result<Seen, Broken> {
        let Accessed { result, faults } = self.subject.access(who, access)?;
        let observed = result.map_or_else(Seen::caught, Observed::Bytes);
        Ok(Seen { observed, faults })
    }

    fn execute(&mut self, who: Who, step: &Step) -> Result<Seen, Broken> {
        let addr = self.number(step, 0)?;
        let seen = self.access(who, &Access::Execute { addr })?;
        let Observed::Bytes(bytes) = &seen.observed else {
            return Ok(seen);
        };
        let value = bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u64::from(*byte));
        Ok(Seen {
            observed: Observed::Value(value),
            faults: seen.faults,
        })
    }

    fn fork(&mut self, who: Who, step: &Step) -> Result<Seen, Broken> {
        match self.subject.fork(who)? {
            Ok(child) => {
                self.people.insert(named(step, 0)?.to_string(), child);
                let usage = self.subject.usage(child)?;
                self.baseline.insert(child, usage);
                Ok(Seen::new(Observed::Value(0)))
            }
            Err(errno) => Ok(Seen::new(Observed::Errno(errno))),
        }
    }

    fn peek(&mut self, by: Who, door: Door, step: &Step) -> Result<Seen, Broken> {
        let of = self.who(Some(named(step, 0)?))?;
        let transfer = Transfer::Read(length(self.number(step, 2)?)?);
        let addr = self.number(step, 1)?;
        let returned = self.subject.outside(&Outside {
            by,
            of,
            door,
            addr,
            transfer,
        })?;
        Ok(bytes_or_errno(returned))
    }

    fn poke(&mut self, by: Who, door: Door, step: &Step) -> Result<Seen, Broken> {
        let of = self.who(Some(named(step, 0)?))?;
        let transfer = Transfer::Write(literal(step, 2)?.to_vec());
        let addr = self.number(step, 1)?;
        let returned = self.subject.outside(&Outside {
            by,
            of,
            door,
            addr,
            transfer,
        })?;
        Ok(Seen::returned(returned.value))
    }

    fn maps(&mut self, who: Who, step: &Step) -> Result<Seen, Broken> {
        let (from, to) = (self.number(step, 0)?, self.number(step, 1)?);
        let text = self.subject.maps(who)?;
        let areas = area_lines(&text, from, to, &self.dir).map_err(Broken)?;
        Ok(Seen::new(Observed::Areas(areas)))
    }

    fn counter(&mut self, who: Who, step: &Step) -> Result<Seen, Broken> {
        let usage = self.subject.usage(who)?;
        let start = self.baseline.get(&who).copied().unwrap_or_default();
        let field = counter_named(named(step, 0)?)?;
        Ok(Seen::new(Observed::Value(
            field(&usage).wrapping_sub(field(&start)),
        )))
    }

    /// The address that an access names, where a signal without an address is expected.
    pub(super) fn accessed_address(&self, step: &Step) -> Option<u64> {
        let touches = matches!(step.verb, Verb::Load | Verb::Store | Verb::Execute);
        let implicit = matches!(step.expect.result, Expect::Signal { at: None, .. });
        (touches && implicit).then(|| self.number(step, 0).ok())?
    }
}

fn bytes_or_errno(returned: Returned) -> Seen {
    match usize::try_from(returned.value) {
        Ok(count) => {
            let mut bytes = returned.output;
            bytes.truncate(count);
            Seen::new(Observed::Bytes(bytes))
        }
        Err(_) => Seen::returned(returned.value),
    }
}

fn counter_named(name: &str) -> Result<fn(&Usage) -> u64, Broken> {
    Ok(match name {
        "total" => |usage| usage.total,
        "data" => |usage| usage.data,
        "stack" => |usage| usage.stack,
        "locked" => |usage| usage.locked,
        "anon" => |usage| usage.anon,
        "file" => |usage| usage.file,
        "shmem" => |usage| usage.shmem,
        "tables" => |usage| usage.tables,
        _ => return Err(Broken(format!("no counter {name}"))),
    })
}

fn named(step: &Step, place: usize) -> Result<&str, Broken> {
    match step.args.get(place) {
        Some(Arg::Name(name)) => Ok(name),
        _ => Err(Broken(format!("argument {} is not a name", place + 1))),
    }
}

fn literal(step: &Step, place: usize) -> Result<&[u8], Broken> {
    match step.args.get(place) {
        Some(Arg::Bytes(bytes)) => Ok(bytes),
        _ => Err(Broken(format!("argument {} is not bytes", place + 1))),
    }
}

fn length(value: u64) -> Result<usize, Broken> {
    const MOST: u64 = 64 << 10;
    if value > MOST {
        return Err(Broken(format!(
            "{value} bytes are more than a case may move at once"
        )));
    }
    usize::try_from(value).map_err(|_| Broken("too long".into()))
}

fn terminated(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}
