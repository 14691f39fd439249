/* SPDX-License-Identifier: GPL-2.0 */
/* Between module.c and device.c. */
#ifndef XENLEND_DEVICE_H
#define XENLEND_DEVICE_H

int xenlend_device_register(void);
void xenlend_device_unregister(void);

#endif
