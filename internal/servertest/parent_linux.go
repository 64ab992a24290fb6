// SPDX-License-Identifier: Apache-2.0

package servertest

import "syscall"

// endWithParent lets a server end with the test, also with one that runs out of time, which cleans nothing up.
func endWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
