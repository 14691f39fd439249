// SPDX-License-Identifier: MIT OR Apache-2.0
//! What runs of the lab share, and the machine that a run wants: what is booted, and what it depends on.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use xenlend_lab::host::Job;

use crate::build_root::BuildRoot;
use crate::command::succeed;
use crate::cpio::Cpio;
use crate::digest::Inputs;
use crate::hypervisor::Flavour;
use crate::images::Images;
use crate::lab_up;
use crate::parts::Parts;
use crate::preflight::QEMU;
use crate::qemu::{Files, Machine, Settings, Start};
use crate::workspace::Workspace;

/// Everything that was built for runs, once for all of them.
pub struct Lab<'a> {
    /// The folders.
    pub workspace: &'a Workspace,
    /// The build root.
    pub root: BuildRoot,
    /// What is booted.
    images: Images,
    /// The digest of that.
    images_key: String,
    /// The emulator's name and version.
    pub qemu: String,
}

/// A machine that a run wants.
pub struct Plan {
    /// The machine.
    pub machine: Machine,
    /// Its guests.
    pub job: Job,
    /// What runs in it, for the report.
    pub xen_version: String,
    /// Files that its guests have besides.
    guest_files: Vec<u8>,
}

impl<'a> Lab<'a> {
    /// Builds what is not up to date.
    ///
    /// # Errors
    /// What the machine lacks, or a failing build.
    pub fn prepare(workspace: &'a Workspace, parts: &Parts) -> Result<Self> {
        let (root, images) = lab_up::prepare(workspace, parts)?;
        let inputs = Inputs::of("images").path(&images.kernel)?;
        let parts = images.dom0.iter().chain(&images.guest);
        let images_key = parts.fold(inputs, |inputs, part| inputs.bytes(part)).key();
        let said = succeed(Command::new(QEMU).arg("--version"))?;
        let qemu = said.lines().next().unwrap_or_default().to_owned();
        Ok(Self { workspace, root, images, images_key, qemu })
    }

    /// A machine with this Xen and these guests.
    ///
    /// # Errors
    /// That Xen cannot be built.
    pub fn plan(&self, xen: Flavour, settings: Settings, job: Job, guest_files: Vec<u8>) -> Result<Plan> {
        let xen = xen.ensure(self.workspace, &self.root)?;
        let kernel = self.images.kernel.clone();
        let machine = Machine { xen: xen.image, policy: xen.policy, kernel, settings };
        Ok(Plan { machine, job, xen_version: xen.version, guest_files })
    }

    /// Writes the initramfs of a plan's dom0.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_initramfs(&self, plan: &Plan, path: &Path) -> Result<()> {
        let why = || path.display().to_string();
        let mut guests = self.images.guest.concat();
        guests.extend_from_slice(&plan.guest_files);
        let mut last = Cpio::default();
        last.file("/usr/lib/lab/guest.cpio", 0o644, &guests);
        let mut file = File::create(path).with_context(why)?;
        self.images.dom0.iter().try_for_each(|part| file.write_all(part)).with_context(why)?;
        file.write_all(&last.finish()).with_context(why)
    }

    /// What the plan's dom0 depends on before it has any guest.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn dom0_key(&self, plan: &Plan) -> Result<String> {
        dom0_key(&self.images_key, &self.qemu, &plan.machine, &plan.guest_files)
    }
}

/// The key of a machine's dom0: images, emulator, Xen, command lines, and the files that guests would have besides.
fn dom0_key(images: &str, qemu: &str, machine: &Machine, guest_files: &[u8]) -> Result<String> {
    let mut inputs =
        Inputs::of("a saved dom0").text(images).text(qemu).bytes(guest_files).path(&machine.xen)?;
    if let Some(policy) = &machine.policy {
        inputs = inputs.path(policy)?;
    }
    Ok(command_line(machine).iter().fold(inputs, |inputs, word| inputs.text(word)).key())
}

/// The key of a machine whose guests are up.
///
/// # Errors
/// None that is expected.
pub fn guests_key(dom0_key: &str, job: &Job) -> Result<String> {
    let job = postcard::to_stdvec(job).context("the job")?;
    Ok(Inputs::of("saved guests").text(dom0_key).bytes(&job).key())
}

/// The emulator's command line without what differs in every run.
fn command_line(machine: &Machine) -> Vec<String> {
    let name = |name: &str| PathBuf::from(name);
    let files = Files {
        initramfs: name("initramfs"),
        link: name("link"),
        monitor: name("monitor"),
        heartbeat: name("heartbeat"),
    };
    let policy = machine.policy.is_some().then(|| name("policy"));
    let settings = machine.settings.clone();
    let machine = Machine { xen: name("xen"), policy, kernel: name("kernel"), settings };
    machine.arguments(&files, Start::BootToSave(&name("memory")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use xenlend_lab::host::Job;

    use super::{dom0_key, guests_key};
    use crate::qemu::{Machine, Settings};

    /// A machine whose Xen and policy are files of this folder.
    fn machine(folder: &Path) -> Machine {
        let settings = Settings {
            cpus: 1,
            guest_memory_mib: 256,
            guests: 1,
            xen_cmdline: String::new(),
            dom0_cmdline: String::new(),
            devices: Vec::new(),
        };
        let (xen, policy) = (folder.join("xen"), Some(folder.join("policy")));
        Machine { xen, policy, kernel: folder.join("kernel"), settings }
    }

    #[test]
    fn another_input_is_another_dom0_and_the_same_ones_are_the_same() {
        let folder = std::env::temp_dir().join(format!("xenlend-key-{}", std::process::id()));
        let (one, two) = (folder.join("one"), folder.join("two"));
        for (folder, xen) in [(&one, "xen"), (&two, "xen")] {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join("xen"), xen).unwrap();
            std::fs::write(folder.join("policy"), "policy").unwrap();
        }
        let key = |images: &str, qemu: &str, machine: &Machine| dom0_key(images, qemu, machine, b"").unwrap();
        let first = key("images", "10", &machine(&one));
        assert_eq!(key("images", "10", &machine(&two)), first, "a path is no input");

        let with = |change: &dyn Fn(&mut Settings)| {
            let mut machine = machine(&one);
            change(&mut machine.settings);
            key("images", "10", &machine)
        };
        let mut keys = vec![first];
        keys.push(key("others", "10", &machine(&one)));
        keys.push(key("images", "11", &machine(&one)));
        keys.push(dom0_key("images", "10", &machine(&one), b"more").unwrap());
        keys.push(key("images", "10", &Machine { policy: None, ..machine(&one) }));
        keys.push(with(&|settings| settings.cpus = 2));
        keys.push(with(&|settings| settings.guest_memory_mib = 8192));
        keys.push(with(&|settings| settings.guests = 32));
        keys.push(with(&|settings| settings.xen_cmdline = "x".to_owned()));
        keys.push(with(&|settings| settings.dom0_cmdline = "x".to_owned()));
        keys.push(with(&|settings| settings.devices = vec!["x".to_owned()]));
        std::fs::write(two.join("xen"), "changed").unwrap();
        keys.push(key("images", "10", &machine(&two)));
        std::fs::write(two.join("xen"), "xen").unwrap();
        std::fs::write(two.join("policy"), "changed").unwrap();
        keys.push(key("images", "10", &machine(&two)));
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len(), "{keys:?}");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn another_job_or_dom0_is_another_machine_with_guests() {
        let job = || Job {
            guests: 1,
            vcpus: 1,
            guest_memory_mib: 256,
            aperture: "256M".to_owned(),
            guest_cmdline: String::new(),
            guest_config: Vec::new(),
            broker: true,
        };
        let jobs = [
            job(),
            Job { guests: 2, ..job() },
            Job { vcpus: 2, ..job() },
            Job { guest_memory_mib: 128, ..job() },
            Job { aperture: "4G".to_owned(), ..job() },
            Job { guest_cmdline: "x".to_owned(), ..job() },
            Job { guest_config: vec!["x".to_owned()], ..job() },
            Job { broker: false, ..job() },
        ];
        let mut keys: BTreeSet<String> = jobs.iter().map(|job| guests_key("dom0", job).unwrap()).collect();
        keys.insert(guests_key("another", &job()).unwrap());
        assert_eq!(keys.len(), jobs.len() + 1);
        assert_eq!(guests_key("dom0", &job()).unwrap(), guests_key("dom0", &job()).unwrap());
    }
}
