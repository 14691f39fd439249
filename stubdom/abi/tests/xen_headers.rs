// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares this crate with Xen's own public headers: a generated C program prints every size, offset
//! and number as the C compiler sees them.
//!
//! Needs `XENLEND_XEN_HEADERS` (the directory that holds `xen.h`) and a C compiler (`CC`, default `cc`).

use std::fmt::Write as _;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

use xenlend_xen_abi::{
    console, dm_op, domctl, errno, event_channel, grant_table, hvm, hypercall, ioreq, memory, sched,
    shared_info, start_info, version, xenstore, DOMID_INVALID, DOMID_SELF,
};

/// The headers that the comparison needs, relative to the directory.
const HEADERS: [&str; 16] = [
    "xen.h",
    "errno.h",
    "domctl.h",
    "event_channel.h",
    "grant_table.h",
    "memory.h",
    "sched.h",
    "version.h",
    "arch-x86/cpuid.h",
    "arch-x86/hvm/start_info.h",
    "hvm/dm_op.h",
    "hvm/hvm_op.h",
    "hvm/ioreq.h",
    "hvm/params.h",
    "io/console.h",
    "io/xs_wire.h",
];

/// A flag of the byte that packs state and flags.
type Flag = fn(ioreq::StateByte) -> bool;

/// Expressions of C and what this crate holds for them.
#[derive(Default)]
struct Comparison(Vec<(String, u64)>);

impl Comparison {
    fn number(&mut self, expression: &str, ours: impl Into<u64>) {
        self.0.push((expression.to_owned(), ours.into()));
    }

    fn size(&mut self, c_type: &str, ours: usize) {
        self.number(&format!("sizeof({c_type})"), ours as u64);
    }

    fn offset(&mut self, c_type: &str, c_field: &str, ours: usize) {
        self.number(&format!("offsetof({c_type}, {c_field})"), ours as u64);
    }

    fn program(&self, headers: &Path) -> String {
        let mut text = String::from("#include <stdint.h>\n#include <stddef.h>\n#include <stdio.h>\n");
        // The tools' view: domctl and the resource calls are not for ordinary guests. The structures'
        // newest form.
        text.push_str("#define __XEN_TOOLS__ 1\n#define __XEN_INTERFACE_VERSION__ 0x00041400\n");
        for header in HEADERS {
            writeln!(text, "#include \"{}\"", headers.join(header).display()).unwrap();
        }
        text.push_str("int main(void) {\n");
        for (expression, _) in &self.0 {
            writeln!(text, "  printf(\"%llu\\n\", (unsigned long long)({expression}));").unwrap();
        }
        text.push_str("  return 0;\n}\n");
        text
    }
}

/// Compares the size of a structure and the offsets of its fields.
macro_rules! layout {
    ($list:ident, $c_type:literal, $ours:ty { $($c_field:literal => $field:ident),* $(,)? }) => {
        $list.size($c_type, size_of::<$ours>());
        layout!($list, offsets $c_type, $ours { $($c_field => $field),* });
    };
    ($list:ident, offsets $c_type:literal, $ours:ty { $($c_field:literal => $field:ident),* $(,)? }) => {
        $($list.offset($c_type, $c_field, offset_of!($ours, $field));)*
    };
}

fn calls(list: &mut Comparison) {
    for (name, ours) in [
        ("memory_op", hypercall::MEMORY_OP),
        ("xen_version", hypercall::XEN_VERSION),
        ("grant_table_op", hypercall::GRANT_TABLE_OP),
        ("sched_op", hypercall::SCHED_OP),
        ("event_channel_op", hypercall::EVENT_CHANNEL_OP),
        ("hvm_op", hypercall::HVM_OP),
        ("domctl", hypercall::DOMCTL),
        ("dm_op", hypercall::DM_OP),
    ] {
        list.number(&format!("__HYPERVISOR_{name}"), ours);
    }
    list.number("DOMID_SELF", DOMID_SELF);
    list.number("DOMID_INVALID", DOMID_INVALID);
    list.number("XENVER_version", version::VERSION);
    list.number("XEN_CPUID_SIGNATURE_EBX", hypercall::CPUID_SIGNATURE[0]);
    list.number("XEN_CPUID_SIGNATURE_ECX", hypercall::CPUID_SIGNATURE[1]);
    list.number("XEN_CPUID_SIGNATURE_EDX", hypercall::CPUID_SIGNATURE[2]);
    list.number("XEN_CPUID_FIRST_LEAF", hypercall::CPUID_FIRST);
    for (name, ours) in errno::ALL {
        list.number(&format!("XEN_{name}"), *ours);
    }
}

fn domctls(list: &mut Comparison) {
    // The headers are of one release; the others' versions are from their own headers, by hand.
    list.number(
        "XEN_DOMCTL_INTERFACE_VERSION",
        version::domctl_version(version::XenVersion { major: 4, minor: 20 }).unwrap(),
    );
    list.number("XEN_DOMCTL_destroydomain", domctl::DESTROYDOMAIN);
    list.number("XEN_DOMCTL_pausedomain", domctl::PAUSEDOMAIN);
    list.number("XEN_DOMCTL_unpausedomain", domctl::UNPAUSEDOMAIN);
    list.number("XEN_DOMCTL_getdomaininfo", domctl::GETDOMAININFO);
    list.number("XEN_DOMCTL_iomem_permission", domctl::IOMEM_PERMISSION);
    list.number("XEN_DOMCTL_memory_mapping", domctl::MEMORY_MAPPING);
    list.number("XEN_DOMCTL_set_target", domctl::SET_TARGET);
    list.number("XEN_DOMCTL_get_device_group", domctl::GET_DEVICE_GROUP);
    list.number("DPCI_ADD_MAPPING", domctl::ADD_MAPPING);
    list.number("DPCI_REMOVE_MAPPING", domctl::REMOVE_MAPPING);
    list.number("XEN_DOMINF_dying", domctl::DOMINF_DYING);
    list.number("XEN_DOMINF_hvm_guest", domctl::DOMINF_HVM_GUEST);
    list.number("XEN_DOMINF_shutdown", domctl::DOMINF_SHUTDOWN);
    list.number("XEN_DOMINF_paused", domctl::DOMINF_PAUSED);
    layout!(list, "struct xen_domctl", domctl::Domctl {
        "cmd" => cmd, "interface_version" => interface_version, "domain" => domain, "u" => payload,
    });
    list.number("sizeof(((struct xen_domctl *)0)->u)", domctl::PAYLOAD_BYTES as u64);
    layout!(list, "struct xen_domctl_memory_mapping", domctl::MemoryMapping {
        "first_gfn" => first_gfn, "first_mfn" => first_mfn, "nr_mfns" => nr_mfns,
        "add_mapping" => add_mapping,
    });
    layout!(list, "struct xen_domctl_iomem_permission", domctl::IomemPermission {
        "first_mfn" => first_mfn, "nr_mfns" => nr_mfns, "allow_access" => allow_access,
    });
    layout!(list, "struct xen_domctl_set_target", domctl::SetTarget { "target" => target });
    layout!(list, offsets "struct xen_domctl_getdomaininfo", domctl::DomainInfo {
        "domain" => domain, "flags" => flags,
    });
}

fn dm_ops(list: &mut Comparison) {
    list.number("XEN_DMOP_create_ioreq_server", dm_op::CREATE_IOREQ_SERVER);
    list.number("XEN_DMOP_get_ioreq_server_info", dm_op::GET_IOREQ_SERVER_INFO);
    list.number("XEN_DMOP_map_io_range_to_ioreq_server", dm_op::MAP_IO_RANGE);
    list.number("XEN_DMOP_set_ioreq_server_state", dm_op::SET_IOREQ_SERVER_STATE);
    list.number("XEN_DMOP_destroy_ioreq_server", dm_op::DESTROY_IOREQ_SERVER);
    list.number("XEN_DMOP_remote_shutdown", dm_op::REMOTE_SHUTDOWN);
    list.number("XEN_DMOP_nr_vcpus", dm_op::NR_VCPUS);
    list.number("XEN_DMOP_IO_RANGE_MEMORY", dm_op::IO_RANGE_MEMORY);
    list.number("HVM_IOREQSRV_BUFIOREQ_OFF", dm_op::BUFIOREQ_OFF);
    list.number("XEN_DMOP_no_gfns", dm_op::NO_GFNS);
    list.offset("struct xen_dm_op", "u", offset_of!(dm_op::DmOp<dm_op::IoreqServerRange>, payload));
    list.offset("struct xen_dm_op", "u", offset_of!(dm_op::DmOp<dm_op::SetIoreqServerState>, payload));
    list.offset("struct xen_dm_op", "u", offset_of!(dm_op::DmOp<dm_op::CreateIoreqServer>, payload));
    layout!(list, "struct xen_dm_op_create_ioreq_server", dm_op::CreateIoreqServer {
        "handle_bufioreq" => handle_bufioreq, "id" => id,
    });
    layout!(list, "struct xen_dm_op_get_ioreq_server_info", dm_op::GetIoreqServerInfo {
        "id" => id, "flags" => flags, "bufioreq_port" => bufioreq_port, "ioreq_gfn" => ioreq_gfn,
        "bufioreq_gfn" => bufioreq_gfn,
    });
    layout!(list, "struct xen_dm_op_ioreq_server_range", dm_op::IoreqServerRange {
        "id" => id, "type" => kind, "start" => start, "end" => end,
    });
    layout!(list, "struct xen_dm_op_set_ioreq_server_state", dm_op::SetIoreqServerState {
        "id" => id, "enabled" => enabled,
    });
    layout!(list, "struct xen_dm_op_destroy_ioreq_server", dm_op::DestroyIoreqServer { "id" => id });
    layout!(list, "struct xen_dm_op_remote_shutdown", dm_op::RemoteShutdown { "reason" => reason });
    layout!(list, "struct xen_dm_op_nr_vcpus", dm_op::NrVcpus { "vcpus" => vcpus });
    layout!(list, "struct xen_dm_op_buf", dm_op::DmOpBuffer { "h" => handle, "size" => size });
}

fn memory_ops(list: &mut Comparison) {
    list.number("XENMEM_add_to_physmap", memory::ADD_TO_PHYSMAP);
    list.number("XENMEM_remove_from_physmap", memory::REMOVE_FROM_PHYSMAP);
    list.number("XENMEM_add_to_physmap_batch", memory::ADD_TO_PHYSMAP_BATCH);
    list.number("XENMEM_acquire_resource", memory::ACQUIRE_RESOURCE);
    list.number("XENMAPSPACE_shared_info", memory::MAPSPACE_SHARED_INFO);
    list.number("XENMAPSPACE_gmfn_foreign", memory::MAPSPACE_GMFN_FOREIGN);
    list.number("XENMEM_resource_ioreq_server", memory::RESOURCE_IOREQ_SERVER);
    list.number("XENMEM_resource_ioreq_server_frame_ioreq(0)", memory::RESOURCE_FRAME_IOREQ);
    layout!(list, "struct xen_add_to_physmap", memory::AddToPhysmap {
        "domid" => domid, "size" => size, "space" => space, "idx" => idx, "gpfn" => gpfn,
    });
    layout!(list, "struct xen_add_to_physmap_batch", memory::AddToPhysmapBatch {
        "domid" => domid, "space" => space, "size" => size, "u.foreign_domid" => foreign_domid,
        "idxs" => idxs, "gpfns" => gpfns, "errs" => errs,
    });
    layout!(list, "struct xen_remove_from_physmap", memory::RemoveFromPhysmap {
        "domid" => domid, "gpfn" => gpfn,
    });
    layout!(list, "struct xen_mem_acquire_resource", memory::AcquireResource {
        "domid" => domid, "type" => kind, "id" => id, "nr_frames" => nr_frames, "pad" => pad,
        "frame" => frame, "frame_list" => frame_list,
    });
}

fn events_grants_and_scheduling(list: &mut Comparison) {
    list.number("EVTCHNOP_bind_interdomain", event_channel::BIND_INTERDOMAIN);
    list.number("EVTCHNOP_close", event_channel::CLOSE);
    list.number("EVTCHNOP_send", event_channel::SEND);
    list.number("EVTCHNOP_status", event_channel::STATUS);
    list.number("EVTCHNSTAT_interdomain", event_channel::STATUS_INTERDOMAIN);
    layout!(list, "struct evtchn_status", event_channel::evtchn_status {
        "dom" => dom, "port" => port, "status" => status,
    });
    list.number("EVTCHN_2L_NR_CHANNELS", event_channel::TWO_LEVEL_PORTS);
    layout!(list, "struct evtchn_bind_interdomain", event_channel::evtchn_bind_interdomain {
        "remote_dom" => remote_dom, "remote_port" => remote_port, "local_port" => local_port,
    });
    layout!(list, "struct evtchn_close", event_channel::evtchn_close { "port" => port });
    layout!(list, "struct evtchn_send", event_channel::evtchn_send { "port" => port });

    list.number("GNTTABOP_map_grant_ref", grant_table::MAP_GRANT_REF);
    list.number("GNTTABOP_unmap_grant_ref", grant_table::UNMAP_GRANT_REF);
    list.number("GNTMAP_host_map", grant_table::HOST_MAP);
    for (name, status) in [
        ("bad_domain", grant_table::GNTST_BAD_DOMAIN),
        ("bad_gntref", grant_table::GNTST_BAD_GNTREF),
        ("permission_denied", grant_table::GNTST_PERMISSION_DENIED),
        ("eagain", grant_table::GNTST_EAGAIN),
        ("no_space", grant_table::GNTST_NO_SPACE),
    ] {
        list.number(&format!("-(GNTST_{name})"), status.unsigned_abs());
    }
    layout!(list, "struct gnttab_map_grant_ref", grant_table::MapGrantRef {
        "host_addr" => host_addr, "flags" => flags, "ref" => grant_ref, "dom" => dom,
        "status" => status, "handle" => handle, "dev_bus_addr" => dev_bus_addr,
    });
    layout!(list, "struct gnttab_unmap_grant_ref", grant_table::UnmapGrantRef {
        "host_addr" => host_addr, "dev_bus_addr" => dev_bus_addr, "handle" => handle,
        "status" => status,
    });

    list.number("SCHEDOP_shutdown", sched::SHUTDOWN);
    list.number("SCHEDOP_poll", sched::POLL);
    list.number("SHUTDOWN_poweroff", sched::SHUTDOWN_POWEROFF);
    list.number("SHUTDOWN_crash", sched::SHUTDOWN_CRASH);
    layout!(list, "struct sched_poll", sched::sched_poll {
        "ports" => ports, "nr_ports" => nr_ports, "timeout" => timeout,
    });
    layout!(list, "struct sched_shutdown", sched::sched_shutdown { "reason" => reason });
}

fn shared_pages(list: &mut Comparison) {
    list.size("struct shared_info", size_of::<shared_info::shared_info>());
    list.offset("struct shared_info", "evtchn_pending", shared_info::PENDING_OFFSET);
    list.number("sizeof(((struct shared_info *)0)->evtchn_pending) / 8", shared_info::PENDING_WORDS as u64);
    list.offset("struct shared_info", "vcpu_info[0].time", shared_info::VCPU0_TIME_OFFSET);
    list.offset(
        "struct shared_info",
        "vcpu_info[0].evtchn_upcall_pending",
        shared_info::VCPU0_UPCALL_PENDING_OFFSET,
    );
    layout!(list, "struct vcpu_time_info", shared_info::vcpu_time_info {
        "version" => version, "tsc_timestamp" => tsc_timestamp, "system_time" => system_time,
        "tsc_to_system_mul" => tsc_to_system_mul, "tsc_shift" => tsc_shift,
    });

    list.number("XEN_HVM_START_MAGIC_VALUE", start_info::MAGIC);
    list.number("XEN_HVM_MEMMAP_TYPE_RAM", start_info::MEMMAP_TYPE_RAM);
    layout!(list, "struct hvm_start_info", start_info::StartInfo {
        "magic" => magic, "version" => version, "flags" => flags, "nr_modules" => nr_modules,
        "modlist_paddr" => modlist_paddr, "cmdline_paddr" => cmdline_paddr,
        "rsdp_paddr" => rsdp_paddr, "memmap_paddr" => memmap_paddr,
        "memmap_entries" => memmap_entries,
    });
    layout!(list, "struct hvm_memmap_table_entry", start_info::MemoryMapEntry {
        "addr" => addr, "size" => size, "type" => kind,
    });

    list.number("HVMOP_get_param", hvm::GET_PARAM);
    list.number("HVM_PARAM_STORE_PFN", hvm::PARAM_STORE_PFN);
    list.number("HVM_PARAM_STORE_EVTCHN", hvm::PARAM_STORE_EVTCHN);
    list.number("HVM_PARAM_CONSOLE_PFN", hvm::PARAM_CONSOLE_PFN);
    list.number("HVM_PARAM_CONSOLE_EVTCHN", hvm::PARAM_CONSOLE_EVTCHN);
    list.number("XEN_HVM_DEBUGCONS_IOPORT", hvm::DEBUG_CONSOLE_PORT);
    layout!(list, "struct xen_hvm_param", hvm::HvmParam {
        "domid" => domid, "index" => index, "value" => value,
    });

    layout!(list, "struct xencons_interface", console::ConsoleRing {
        "in" => input, "out" => output, "in_cons" => in_cons, "in_prod" => in_prod,
        "out_cons" => out_cons, "out_prod" => out_prod,
    });
    layout!(list, "struct xenstore_domain_interface", xenstore::XenstoreRing {
        "req" => req, "rsp" => rsp, "req_cons" => req_cons, "req_prod" => req_prod,
        "rsp_cons" => rsp_cons, "rsp_prod" => rsp_prod, "server_features" => server_features,
        "connection" => connection, "error" => error,
    });
    list.number("XENSTORE_RING_SIZE", xenstore::RING_BYTES);
}

fn xenstore_messages(list: &mut Comparison) {
    use xenstore::MessageType as M;
    list.size("struct xsd_sockmsg", xenstore::HEADER_BYTES);
    list.number("XENSTORE_PAYLOAD_MAX", xenstore::PAYLOAD_BYTES_MAX as u64);
    for (index, field) in ["type", "req_id", "tx_id", "len"].into_iter().enumerate() {
        list.offset("struct xsd_sockmsg", field, index * 4);
    }
    for (name, ours) in [
        ("DIRECTORY", M::Directory),
        ("READ", M::Read),
        ("GET_PERMS", M::GetPermissions),
        ("WATCH", M::Watch),
        ("UNWATCH", M::Unwatch),
        ("TRANSACTION_START", M::TransactionStart),
        ("TRANSACTION_END", M::TransactionEnd),
        ("WRITE", M::Write),
        ("MKDIR", M::MakeDirectory),
        ("RM", M::Remove),
        ("SET_PERMS", M::SetPermissions),
        ("WATCH_EVENT", M::WatchEvent),
        ("ERROR", M::Error),
    ] {
        list.number(&format!("XS_{name}"), ours as u32);
    }
}

fn requests(list: &mut Comparison) {
    list.size("struct ioreq", ioreq::SLOT_BYTES);
    list.offset("struct ioreq", "addr", ioreq::ADDR_OFFSET);
    list.offset("struct ioreq", "data", ioreq::DATA_OFFSET);
    list.offset("struct ioreq", "count", ioreq::COUNT_OFFSET);
    list.offset("struct ioreq", "size", ioreq::SIZE_OFFSET);
    list.offset("struct ioreq", "vp_eport", ioreq::PORT_OFFSET);
    list.offset("struct ioreq", "type", ioreq::TYPE_OFFSET);
    list.number("STATE_IOREQ_NONE", ioreq::STATE_NONE);
    list.number("STATE_IOREQ_READY", ioreq::STATE_READY);
    list.number("STATE_IOREQ_INPROCESS", ioreq::STATE_IN_PROCESS);
    list.number("STATE_IORESP_READY", ioreq::STATE_RESPONSE_READY);
    list.number("IOREQ_TYPE_COPY", ioreq::TYPE_COPY);
    list.number("IOREQ_TYPE_INVALIDATE", ioreq::TYPE_INVALIDATE);
    // Bit fields have no offset: let the compiler pack them and read the byte.
    let byte = |fields: &str| {
        format!(
            "((union {{ struct ioreq request; unsigned char bytes[32]; }}){{ .request = {{ {fields} }} \
             }}).bytes[{}]",
            ioreq::STATE_OFFSET
        )
    };
    let plain = ioreq::StateByte(0);
    for state in 0..=3u8 {
        list.number(&byte(&format!(".state = {state}")), plain.with_state(state).0);
    }
    for (field, ours) in [
        ("data_is_ptr", ioreq::StateByte::data_is_pointer as Flag),
        ("dir", ioreq::StateByte::is_read),
        ("df", ioreq::StateByte::downwards),
    ] {
        let bit = (0..8).map(|bit| 1u8 << bit).find(|&byte| ours(ioreq::StateByte(byte))).unwrap();
        list.number(&byte(&format!(".{field} = 1")), bit);
    }
}

fn run(command: &mut Command) -> String {
    let shown = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| panic!("{shown}: {error}"));
    assert!(output.status.success(), "{shown} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the program prints decimal numbers")
}

#[test]
fn everything_here_is_as_in_xens_headers() {
    let headers = PathBuf::from(std::env::var_os("XENLEND_XEN_HEADERS").expect(
        "set XENLEND_XEN_HEADERS to the directory of Xen's public headers (Debian's libxen-dev: \
         /usr/include/xen); `cargo xtask test` does",
    ));
    for header in HEADERS {
        let file = headers.join(header);
        assert!(file.is_file(), "XENLEND_XEN_HEADERS: there is no {}", file.display());
    }
    let mut list = Comparison::default();
    calls(&mut list);
    domctls(&mut list);
    dm_ops(&mut list);
    memory_ops(&mut list);
    events_grants_and_scheduling(&mut list);
    shared_pages(&mut list);
    xenstore_messages(&mut list);
    requests(&mut list);

    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (folder.join("xen_headers.c"), folder.join("xen_headers"));
    std::fs::write(&source, list.program(&headers)).unwrap();
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    run(Command::new(compiler).args(["-std=gnu11", "-o"]).arg(&program).arg(&source));
    let printed = run(&mut Command::new(&program));

    let theirs: Vec<u64> = printed.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(theirs.len(), list.0.len());
    let wrong: Vec<String> = list
        .0
        .iter()
        .zip(&theirs)
        .filter(|((_, ours), theirs)| ours != *theirs)
        .map(|((expression, ours), theirs)| format!("{expression}: Xen {theirs}, ours {ours}"))
        .collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), list.0.len(), wrong.join("\n"));
    println!("{} numbers agree with {}", list.0.len(), headers.display());
}
