// SPDX-License-Identifier: MIT OR Apache-2.0
//! A boot of the lab: what is booted, and the scenarios that run in it. The list of them is in `scenarios.rs`.

use crate::hypervisor::Flavour;

/// A boot of the lab and the scenarios that run in it, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Boot {
    /// Its name: the folder of its logs.
    pub name: &'static str,
    /// The hypervisor.
    pub xen: Flavour,
    /// The same boot with the lend-aware hypervisor: its name, if there is one.
    pub on_lend: Option<&'static str>,
    /// The same boot with the borrower's driver.
    pub forms: &'static [Form],
    /// Number of guests.
    pub guests: u32,
    /// Virtual CPUs of each guest.
    pub vcpus: u32,
    /// CPUs of the emulated machine: 1 unless the scenarios need real races.
    pub pcpus: u32,
    /// Memory of each guest, in MiB.
    pub guest_memory_mib: u32,
    /// Size of the window for lent memory.
    pub aperture: &'static str,
    /// Whether each guest gets its broker before the scenarios start.
    pub broker: bool,
    /// Added to Xen's command line.
    pub xen_cmdline: &'static str,
    /// Added to dom0's command line.
    pub dom0_cmdline: &'static str,
    /// The borrower's kernel module in the guests.
    pub driver: Driver,
    /// Lines added to the guests' xl files.
    pub guest_config: &'static [&'static str],
    /// Devices added to the emulated machine.
    pub devices: &'static [&'static str],
    /// Seconds from power-on after which the run is ended.
    pub timeout_s: u64,
    /// What Xen has to say when the one scenario makes it panic: a boot that shows a fault of stock Xen.
    pub panic: Option<&'static str>,
    /// Why it runs after all others, if so: it takes long, or has not passed often.
    pub open: Option<&'static str>,
    /// Why its scenarios run one after the other in a boot of their own, and not each in a copy of a saved machine.
    pub whole: Option<&'static str>,
    /// What runs; where a boot is whole, in this order.
    pub scenarios: &'static [Scenario],
}

/// The borrower's driver in a boot's guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// None: programs map the window through /dev/mem, and a touch of an absent page stops a vCPU.
    None,
    /// Loaded: such a touch is a page fault of the guest's kernel.
    With,
    /// Loaded, without its zaps and prefaults: the second stage alone enforces.
    Unzapped,
}

/// The same boot with the borrower's driver.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Its name.
    pub name: &'static str,
    /// The driver.
    pub driver: Driver,
    /// Why it runs after all others, if so: it takes long, or has not passed often.
    pub open: Option<&'static str>,
}

/// One scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it shows, as a sentence in snake case; its folder in $OUT has this name.
    pub name: &'static str,
    /// Its script, below boot/scenarios/scripts.
    pub script: &'static str,
    /// What the script gets as its arguments.
    pub arguments: &'static [&'static str],
    /// The Xen on which it runs.
    pub on: On,
    /// The forms of its boot in which it runs.
    pub form: InForm,
}

/// The kinds of Xen on which something can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// Both.
    Any,
    /// Stock Xen: it is about the way there, named here.
    Stock(&'static str),
}

/// The forms of a boot in which something can be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InForm {
    /// All.
    Any,
    /// Where no driver is loaded, for this reason.
    NoDriver(&'static str),
    /// Where no driver zaps, for this reason.
    NoZaps(&'static str),
    /// Where the driver is loaded and zaps, for this reason.
    Zapping(&'static str),
    /// Where the driver is loaded and does not zap, for this reason.
    Unzapped(&'static str),
}

/// A boot with one guest that has a broker, and nothing special.
pub const PLAIN: Boot = Boot {
    name: "plain",
    xen: Flavour::Stock,
    on_lend: None,
    forms: &[],
    guests: 1,
    vcpus: 1,
    pcpus: 1,
    guest_memory_mib: 256,
    aperture: "256M",
    broker: true,
    xen_cmdline: "",
    dom0_cmdline: "",
    driver: Driver::None,
    guest_config: &[],
    devices: &[],
    timeout_s: 300,
    panic: None,
    open: None,
    whole: None,
    scenarios: &[],
};

/// A line of a guest's xl file: Xen's leaf of CPUID that offers a vector of the local APIC for events is
/// hidden, so Linux takes events by the callback vector instead. See boot/decisions/0014-lost-interrupts.md.
const LAPIC_FREE: &str = "cpuid = [ '0x40000000:eax=00000000000000000000000000000011' ]";

impl Boot {
    /// The same with the borrower's driver.
    pub fn in_form(&self, form: &Form) -> Self {
        Self { name: form.name, driver: form.driver, open: form.open, on_lend: None, forms: &[], ..*self }
    }

    /// Lines added to the guests' xl files. Where several vCPUs meet absent pages through the driver, stock
    /// Xen loses interrupts of the local APIC.
    pub fn guest_config(&self) -> Vec<String> {
        let loses = self.driver != Driver::None && self.vcpus > 1 && !self.xen.is_lend_aware();
        self.guest_config.iter().copied().chain(loses.then_some(LAPIC_FREE)).map(str::to_owned).collect()
    }

    /// How one of its scenarios is called in the output.
    pub fn title(&self, scenario: &str) -> String {
        format!("{}: {scenario}", self.name)
    }

    /// Whether a scenario is shown on this Xen and in this form.
    pub fn shows(&self, scenario: &Scenario) -> bool {
        let on = match scenario.on {
            On::Any => true,
            On::Stock(_) => self.xen == Flavour::Stock,
        };
        on && match scenario.form {
            InForm::Any => true,
            InForm::NoDriver(_) => self.driver == Driver::None,
            InForm::NoZaps(_) => self.driver != Driver::With,
            InForm::Zapping(_) => self.driver == Driver::With,
            InForm::Unzapped(_) => self.driver == Driver::Unzapped,
        }
    }
}

impl Driver {
    /// What is on the guests' command line.
    pub fn guest_cmdline(self) -> &'static str {
        match self {
            Self::None | Self::With => "",
            Self::Unzapped => "xenlend_front.zap=0 xenlend_front.prefault=0",
        }
    }

    /// What the scripts get as $DRIVER.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::With => "with",
            Self::Unzapped => "unzapped",
        }
    }
}

/// The form with the driver.
pub const fn with_driver(name: &'static str) -> Form {
    Form { name, driver: Driver::With, open: None }
}

/// The form with the driver but without its zaps and prefaults.
pub const fn unzapped(name: &'static str) -> Form {
    Form { name, driver: Driver::Unzapped, open: None }
}

impl Form {
    /// The same, but after all others.
    pub const fn open(self, why: &'static str) -> Self {
        Self { open: Some(why), ..self }
    }
}

/// A scenario, in one line.
pub const fn show(name: &'static str, script: &'static str, arguments: &'static [&'static str]) -> Scenario {
    Scenario { name, script, arguments, on: On::Any, form: InForm::Any }
}

impl Scenario {
    /// The same, but only on stock Xen: it is about this way there.
    pub const fn on_stock(self, way: &'static str) -> Self {
        Self { on: On::Stock(way), ..self }
    }

    /// The same, but only in these forms of its boot.
    pub const fn only(self, form: InForm) -> Self {
        Self { form, ..self }
    }
}
