//! Which vector instructions element loops are compiled for.

use super::KernelPath;

/// A set of vector instructions that this processor is known to have: only [`Level::of`] makes one, after asking the processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level(Instructions);

/// The sets that element loops are instantiated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instructions {
    /// AVX-512 F, BW, DQ, VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Whatever the build targets.
    Baseline,
}

/// Whether this processor has what [`Instructions::Avx512`] loops are compiled for.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
}

impl Level {
    /// The level for the element loops of a kernel path on this processor.
    pub(crate) fn of(path: KernelPath) -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if path != KernelPath::Gemm && has_avx512() {
                return Self(Instructions::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self(Instructions::Avx2);
            }
        }
        let _ = path;
        Self(Instructions::Baseline)
    }

    /// The instructions.
    #[inline]
    pub(crate) const fn instructions(self) -> Instructions {
        self.0
    }
}

/// Defines a function that runs an `#[inline(always)]` body compiled for the level given as first argument. The body takes its own
/// type parameters, then `const FMA: bool`.
macro_rules! instantiate {
    ($(#[$attribute:meta])* $name:ident = $body:ident [$($generic:ident),*] ($($argument:ident : $type:ty),* $(,)?) $(-> $result:ty)?) => {
        $(#[$attribute])*
        pub(crate) fn $name<$($generic: $crate::ops::kernels::math::Lane),*>(
            level: $crate::ops::kernels::level::Level,
            $($argument: $type),*
        ) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512<$($generic: $crate::ops::kernels::math::Lane),*>($($argument: $type),*) $(-> $result)? {
                $body::<$($generic,)* true>($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<$($generic: $crate::ops::kernels::math::Lane),*>($($argument: $type),*) $(-> $result)? {
                $body::<$($generic,)* true>($($argument),*)
            }
            match level.instructions() {
                // SAFETY: a `Level` with these instructions exists only on processors that have them.
                #[cfg(target_arch = "x86_64")]
                $crate::ops::kernels::level::Instructions::Avx512 => unsafe { avx512::<$($generic),*>($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::ops::kernels::level::Instructions::Avx2 => unsafe { avx2::<$($generic),*>($($argument),*) },
                $crate::ops::kernels::level::Instructions::Baseline => $body::<$($generic,)* false>($($argument),*),
            }
        }
    };
}
pub(crate) use instantiate;
