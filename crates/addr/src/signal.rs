//! The signals of a failed access.

/// A signal that a failed access sends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(i32)]
pub enum Signal {
    /// `SIGBUS`: there is an area, but nothing behind the page.
    Bus = 7,
    /// `SIGSEGV`: no area, or no right.
    Segv = 11,
}

impl Signal {
    /// Its number on x86-64.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self as i32
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bus => "SIGBUS",
            Self::Segv => "SIGSEGV",
        }
    }
}

/// Why an access failed: what `si_code` says, with its signal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SigCode {
    /// `SEGV_MAPERR`: no area there, or a stack that may not grow.
    MapErr,
    /// `SEGV_ACCERR`: the area does not allow it.
    AccErr,
    /// `SEGV_PKUERR`: the protection key does not allow it.
    PkuErr,
    /// `BUS_ADRERR`: nothing behind the page, such as past the end of a file.
    BusAdrErr,
    /// `BUS_MCEERR_AR`: the frame is broken.
    MceErrAr,
}

impl SigCode {
    /// The signal it comes with.
    #[must_use]
    pub const fn signal(self) -> Signal {
        match self {
            Self::MapErr | Self::AccErr | Self::PkuErr => Signal::Segv,
            Self::BusAdrErr | Self::MceErrAr => Signal::Bus,
        }
    }

    /// The number in `si_code`.
    #[must_use]
    pub const fn raw(self) -> i32 {
        match self {
            Self::MapErr => 1,
            Self::AccErr | Self::BusAdrErr => 2,
            Self::PkuErr | Self::MceErrAr => 4,
        }
    }

    /// Its name in the C headers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MapErr => "SEGV_MAPERR",
            Self::AccErr => "SEGV_ACCERR",
            Self::PkuErr => "SEGV_PKUERR",
            Self::BusAdrErr => "BUS_ADRERR",
            Self::MceErrAr => "BUS_MCEERR_AR",
        }
    }
}
