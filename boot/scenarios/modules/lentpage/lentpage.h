/* SPDX-License-Identifier: GPL-2.0 */
/* A borrower's kernel that does odd things to lent pages: what the files share. */
#ifndef _LENTPAGE_H
#define _LENTPAGE_H

/*
 * Names the lent page at this address in every call that takes a page of the caller's, and the empty place as
 * the other page where there are two. 0 if Xen has refused them all and the page is what it was.
 */
int lentpage_hypercalls(unsigned long address, unsigned long empty);

#endif
