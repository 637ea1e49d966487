//! Which designs a scenario can be put to at all: a design may need hardware, or lack a call.

use super::ast::*;

/// GPU_ALWAYS_MAPPED, which the fifth posting took out again.
const ALWAYS_MAPPED: u32 = 0x40;

impl Scenario {
    /// Why `design` cannot be asked this scenario's question; None: it can.
    pub fn refusal(&self, design: Design) -> Option<String> {
        let ops = || {
            let threads = self.threads.iter().flat_map(|t| &t.ops);
            self.prepare.iter().chain(threads).chain(self.waves.iter().flat_map(|w| &w.ops))
        };
        if design == Design::PocV8 {
            // spec amdgpu-svm 7.1
            if let Some(gpu) = self.gpus.iter().find(|gpu| !gpu.xnack) {
                return Some(format!("it needs XNACK, which is off on {}", gpu.name));
            }
            // spec amdgpu-svm 7.2, 7.3
            let unknown = |attr: &Attr| matches!(attr, Attr::Flags { mask, .. } if mask & (ALWAYS_MAPPED | !0xff) != 0);
            let attrs = ops().filter_map(|op| match &op.kind {
                OpKind::SetAttr { attrs, .. } | OpKind::GetAttr { checks: attrs, .. } => Some(attrs),
                _ => None,
            });
            if attrs.flatten().any(unknown) {
                return Some("its ioctl has no attribute for one of the flags".into());
            }
        } else if ops().any(|op| matches!(op.kind, OpKind::ResetAttr { .. })) {
            return Some("its ioctl has no RESET_ATTR".into());
        }
        if design == Design::Kfd && ops().any(|op| matches!(op.kind, OpKind::Close { .. } | OpKind::Fini { .. })) {
            return Some("it lives as long as the process, whatever file is closed".into());
        }
        let modes = self.gpus.iter().map(|gpu| gpu.xnack);
        if design == Design::Kfd && modes.clone().any(|on| on) && !modes.clone().all(|on| on) {
            return Some("XNACK is on or off for the process, not for a GPU".into());
        }
        None
    }
}
