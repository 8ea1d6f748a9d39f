"""A training run that ends on time and survives being killed.

The learning rate follows the share of the time budget that is used up, not a number
of steps, so a slow or busy machine trains less but always finishes its schedule. Where
other work takes most of the machine, the clock can count processor time instead.
"""

import math
import os
import time
from concurrent.futures import ThreadPoolExecutor

import torch

CHECKPOINT_SECONDS = 120.0
LOG_SECONDS = 15.0
WARM_UP_SHARE = 0.02


def save_atomically(value, path):
    """Readers see the old file or the new one, never half of one."""
    draft = f"{path}.draft"
    torch.save(value, draft)
    os.replace(draft, path)


def processor_clock():
    """Seconds as if this process had the machine to itself: its threads' time, by their number."""
    return time.process_time() / torch.get_num_threads()


def learning_rate(peak, share):
    """A short linear rise, then a cosine to almost nothing."""
    if share < WARM_UP_SHARE:
        return peak * max(share / WARM_UP_SHARE, 0.01)
    rest = min((share - WARM_UP_SHARE) / (1.0 - WARM_UP_SHARE), 1.0)
    return peak * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * rest)))


def reduced_precision():
    """bf16 arithmetic. Without the cache of cast weights, which threads would share."""
    return torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False)


class Average:
    """An exponential moving average of a module's parameters, slow only once it has seen enough."""

    def __init__(self, module, decay):
        self.decay = decay
        self.parameters = [parameter.detach().clone() for parameter in module.parameters()]

    @torch.no_grad()
    def follow(self, module, step):
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        torch._foreach_lerp_(self.parameters, [p.detach() for p in module.parameters()], 1.0 - decay)

    @torch.no_grad()
    def swap(self, module):
        """Exchanges average and parameters; a second call puts them back."""
        for mine, theirs in zip(self.parameters, module.parameters()):
            kept = theirs.detach().clone()
            theirs.copy_(mine)
            mine.copy_(kept)


class Run:
    """One network's training: optimizer, average, clock, log and checkpoint."""

    clock = staticmethod(time.monotonic)

    def __init__(self, name, folder, module, source, minutes, peak_rate, decay, weight_decay=0.01):
        self.name = name
        self.module = module
        self.source = source
        self.budget = minutes * 60.0
        self.peak_rate = peak_rate
        self.path = folder / f"{name}.checkpoint"
        self.log_path = folder / f"{name}.log"
        self.optimizer = torch.optim.AdamW(
            module.parameters(), lr=peak_rate, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True
        )
        self.average = Average(module, decay)
        self.elapsed = 0.0
        self.step = 0
        self.last_log = self.last_save = 0.0
        self.sums, self.count = {}, 0
        self.parts = torch.get_num_threads()
        self.workers = ThreadPoolExecutor(self.parts, initializer=torch.set_num_threads, initargs=(1,))
        if self.path.exists():
            self._resume()

    @property
    def share(self):
        return min(self.elapsed / self.budget, 1.0) if self.budget > 0 else 1.0

    def steps(self):
        """Yields until the time is used up; time between two yields counts as training."""
        while self.elapsed < self.budget:
            begun = self.clock()
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.peak_rate, self.share)
            yield self.step
            self.step += 1
            self.elapsed += self.clock() - begun
            if self.elapsed - self.last_log >= LOG_SECONDS:
                self._log()
            if self.elapsed - self.last_save >= CHECKPOINT_SECONDS:
                self.save()
        self.save()

    def update(self, losses_of, *batch):
        """One optimizer step on a batch: tensors or lists with a row each.

        Every thread takes a share of the rows through the whole network by itself. Threads
        that share each operation instead would wait for one another thousands of times a
        step, which on two cores costs nearly all that the second one gives.
        `losses_of` returns the loss and a dictionary of figures for the log.
        """
        shares = [[rows[part::self.parts] for rows in batch] for part in range(self.parts)]
        results = list(self.workers.map(lambda share: self._gradients(losses_of, share), shares))
        for parameter, *gradients in zip(self.module.parameters(), *(gradients for gradients, _ in results)):
            parameter.grad = None if gradients[0] is None else sum(gradients) / self.parts
        norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimizer.step()
        self.average.follow(self.module, self.step)
        self._count({"gradient": norm}, 1)
        for _, figures in results:
            self._count(figures, self.parts)
        self.count += 1

    def _gradients(self, losses_of, share):
        loss, figures = losses_of(*share)
        gradients = torch.autograd.grad(loss, list(self.module.parameters()), allow_unused=True)
        return gradients, {"loss": loss, **figures}

    def _count(self, figures, parts):
        for key, value in figures.items():
            self.sums[key] = self.sums.get(key, 0.0) + float(value.detach()) / parts

    def save(self):
        state = {
            "module": self.module.state_dict(),
            "average": self.average.parameters,
            "optimizer": self.optimizer.state_dict(),
            "elapsed": self.elapsed,
            "step": self.step,
            "torch_random": torch.get_rng_state(),
            "source": self.source.getstate(),
        }
        save_atomically(state, self.path)
        self.last_save = self.elapsed

    def _resume(self):
        state = torch.load(self.path, weights_only=False)
        self.module.load_state_dict(state["module"])
        self.average.parameters = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.elapsed = self.last_log = self.last_save = state["elapsed"]
        self.step = state["step"]
        torch.set_rng_state(state["torch_random"])
        self.source.setstate(state["source"])

    def _log(self):
        figures = " ".join(f"{key} {value / self.count:.5f}" for key, value in self.sums.items())
        line = f"{self.name} step {self.step} minutes {self.elapsed / 60:.2f} of {self.budget / 60:.1f} {figures}"
        with open(self.log_path, "a", encoding="utf-8") as log:
            log.write(line + "\n")
        print(line, flush=True)
        self.last_log = self.elapsed
        self.sums, self.count = {}, 0


def averaged_state(path, module):
    """The state dictionary of a finished or unfinished run, with averaged parameters."""
    state = torch.load(path, weights_only=False)
    merged = dict(state["module"])
    for (name, _), value in zip(module.named_parameters(), state["average"]):
        merged[name] = value
    return merged
