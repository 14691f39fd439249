// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A program as it was compiled with a kept header: says what it would hand to the kernel in each call, in lines
 * of NAME NUMBER BYTES, and reads the answers back: NAME BYTES in, what it makes of them out.
 */
#include <stdio.h>
#include <string.h>

#include KEPT_HEADER

static void ask(const char *name, unsigned int number, const void *structure, size_t bytes)
{
	const unsigned char *at = structure;

	printf("%s %u ", name, number);
	for (size_t i = 0; i < bytes; i++)
		printf("%02x", at[i]);
	printf("\n");
}

static void read_bytes(void *structure, size_t bytes)
{
	unsigned char *at = structure;

	for (size_t i = 0; i < bytes; i++) {
		unsigned int byte = 0;

		if (scanf("%2x", &byte) != 1)
			byte = 0;
		at[i] = byte;
	}
}

static void questions(void)
{
	struct xenlend_attach attach = { .borrower = 7, .broker = 8, .flags = XENLEND_ATTACH_CHECK,
		.aperture_address = 0x1000000000, .aperture_size = 0x10000000, .deadline_ms = 5, .vcpus = 6 };
	struct xenlend_detach detach = { .borrower = 7 };
	struct xenlend_allow_bar allow_bar = { .borrower = 7, .bar = 1, .devfn = 0x10, .segment = 2, .bus = 3 };
	struct xenlend_bind bind = { .borrower = 7 };
	struct xenlend_status status = { .borrower = 7, .next = 1 };
	struct xenlend_region region = { .slot = 5, .flags = XENLEND_REGION_LOSS_FAULT, .guest_phys_addr = 0x1000,
		.memory_size = 0x2000, .userspace_addr = 0x3000 };
	struct xenlend_region2 region2 = { .slot = 5, .flags = XENLEND_REGION_READONLY, .guest_phys_addr = 0x1000,
		.memory_size = 0x2000, .userspace_addr = 0x3000, .label = "fb0" };
	struct xenlend_region_info info = { .borrower = 7, .slot = 9 };
	struct xenlend_attach_frontend frontend = { .borrower = 7, .ring_refs = { 1, 2, 3 }, .event_channel = 4 };
	struct xenlend_detach_frontend detach_frontend = { .borrower = 7 };
	struct xenlend_xen xen = { .borrower = 7 };
	struct xenlend_version version = { 0 };
	struct xenlend_capability capability = { .capability = XENLEND_CAP_SLOTS };

	ask("attach", XENLEND_ATTACH, &attach, sizeof(attach));
	ask("detach", XENLEND_DETACH, &detach, sizeof(detach));
	ask("allow_bar", XENLEND_ALLOW_BAR, &allow_bar, sizeof(allow_bar));
	ask("bind", XENLEND_BIND, &bind, sizeof(bind));
	ask("status", XENLEND_STATUS, &status, sizeof(status));
	ask("region", XENLEND_SET_USER_MEMORY_REGION, &region, sizeof(region));
	ask("region2", XENLEND_SET_USER_MEMORY_REGION2, &region2, sizeof(region2));
	ask("region_info", XENLEND_GET_REGION, &info, sizeof(info));
	ask("attach_frontend", XENLEND_ATTACH_FRONTEND, &frontend, sizeof(frontend));
	ask("detach_frontend", XENLEND_DETACH_FRONTEND, &detach_frontend, sizeof(detach_frontend));
	ask("xen", XENLEND_XEN, &xen, sizeof(xen));
	ask("version", XENLEND_VERSION, &version, sizeof(version));
	ask("capability", XENLEND_CAPABILITY, &capability, sizeof(capability));
}

static void answers(void)
{
	struct xenlend_status status;
	struct xenlend_region_info info;
	struct xenlend_event event;

	read_bytes(&status, sizeof(status));
	read_bytes(&info, sizeof(info));
	read_bytes(&event, sizeof(event));
	printf("status %u %u %u %u %llu %llu %llu\n", status.borrower, status.broker, status.state, status.reason,
	       (unsigned long long)status.aperture_size, (unsigned long long)status.counters.invalidations,
	       (unsigned long long)status.counters.borrower_attached);
	printf("region_info %u %x %llx %llx %s\n", info.slot, info.flags, (unsigned long long)info.guest_phys_addr,
	       (unsigned long long)info.memory_size, info.label);
	printf("event %u %u %llx %llu\n", event.type, event.slot, (unsigned long long)event.address,
	       (unsigned long long)event.value);
}

int main(int count, char **arguments)
{
	if (count > 1 && strcmp(arguments[1], "answers") == 0)
		answers();
	else
		questions();
	return 0;
}
