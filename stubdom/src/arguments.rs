// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line. The installed build takes none; a test build takes `fault=`.

use crate::start_error::StartError;
use crate::xen::hypervisor::XenHypervisor;
use crate::xen::lender_link::Link;

#[cfg(feature = "faults")]
use crate::faults::{Fault, FaultyHypervisor, FaultyLink};

/// What the event loop serves.
#[cfg(not(feature = "faults"))]
pub type ServedHypervisor = XenHypervisor;
/// What the event loop serves.
#[cfg(feature = "faults")]
pub type ServedHypervisor = FaultyHypervisor<XenHypervisor>;
/// What the event loop listens to.
#[cfg(not(feature = "faults"))]
pub type ServedLink = Link;
/// What the event loop listens to.
#[cfg(feature = "faults")]
pub type ServedLink = FaultyLink;

/// The command line, understood.
#[derive(Clone, Copy, Debug, Default)]
pub struct Arguments {
    #[cfg(feature = "faults")]
    fault: Option<Fault>,
}

impl Arguments {
    /// Understands all of it.
    ///
    /// # Errors
    /// If there is a word that this build does not know.
    pub fn parse(command_line: &str) -> Result<Self, StartError> {
        let mut arguments = Self::default();
        command_line.split_ascii_whitespace().try_for_each(|word| arguments.understand(word))?;
        Ok(arguments)
    }

    #[cfg(feature = "faults")]
    fn understand(&mut self, word: &str) -> Result<(), StartError> {
        let name = word.strip_prefix("fault=").ok_or(StartError::CommandLine("an unknown word"))?;
        self.fault = Some(Fault::parse(name)?);
        Ok(())
    }

    #[cfg(not(feature = "faults"))]
    #[allow(clippy::unused_self)]
    fn understand(&mut self, word: &str) -> Result<(), StartError> {
        Err(StartError::CommandLine(if word.starts_with("fault=") {
            "fault= needs a build with the feature `faults`"
        } else {
            "an unknown word"
        }))
    }

    /// The hypervisor that the event loop serves.
    #[cfg_attr(not(feature = "faults"), allow(clippy::unused_self))]
    pub fn hypervisor(self, sound: XenHypervisor) -> ServedHypervisor {
        #[cfg(feature = "faults")]
        return FaultyHypervisor::new(sound, self.fault);
        #[cfg(not(feature = "faults"))]
        sound
    }

    /// The link that the event loop listens to.
    #[cfg_attr(not(feature = "faults"), allow(clippy::unused_self))]
    pub fn link(self, sound: Link) -> ServedLink {
        #[cfg(feature = "faults")]
        return FaultyLink::new(sound, self.fault);
        #[cfg(not(feature = "faults"))]
        sound
    }
}

/// The link itself.
pub fn sound_link(link: &ServedLink) -> &Link {
    #[cfg(feature = "faults")]
    return &link.inner;
    #[cfg(not(feature = "faults"))]
    link
}

/// The hypervisor itself.
pub fn sound_hypervisor(hypervisor: &ServedHypervisor) -> &XenHypervisor {
    #[cfg(feature = "faults")]
    return &hypervisor.inner;
    #[cfg(not(feature = "faults"))]
    hypervisor
}

/// A turn begins.
#[cfg_attr(not(feature = "faults"), allow(unused_variables, clippy::needless_pass_by_ref_mut))]
pub fn start_turn(hypervisor: &mut ServedHypervisor) {
    #[cfg(feature = "faults")]
    hypervisor.start_turn();
}
