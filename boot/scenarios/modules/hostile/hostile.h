/* SPDX-License-Identifier: GPL-2.0 */
/* A borrower that attacks its broker: what the files share. */
#ifndef _HOSTILE_H
#define _HOSTILE_H

#include <linux/types.h>

/* Does to the aperture what a guest may ask Xen for, as the domain of this number; prints what Xen said. */
void hostile_aperture(u16 self, u64 gfn, u64 pages);

#endif
