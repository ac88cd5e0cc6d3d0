"""PyTorch's dropout and updates: its own optimizers, given parameter, gradient and slots."""

import math
from typing import Any

from conformance.backends.base import CallLog, Native, Natives, Recorded
from conformance.case.families.steps import Adam, Dropout, Sgd


class TorchSteps:
    """A part of the adapter, which brings the framework's modules."""

    log: CallLog
    torch: Recorded
    _torch: Any

    def dropout(self, attributes: Dropout, x: Native, mask: Native) -> Native:
        return self.torch.div(self.torch.mul(x, mask), attributes.keep)

    def sgd(self, attributes: Sgd, parameter: Native, gradient: Native) -> Natives:
        updated = parameter.clone()
        updated.grad = gradient
        self.log.write("p = {}.clone()", parameter)
        self.log.name(updated, "p")
        self.log.write("p.grad = {}", gradient)
        self._torch.optim.SGD([updated], lr=attributes.learning_rate).step()
        self.log.write("torch.optim.SGD([p], lr={}).step()", attributes.learning_rate)
        return {"parameter": updated}

    def adam(self, attributes: Adam, parameter: Native, gradient: Native, m: Native, v: Native) -> Natives:
        # torch adds epsilon after the bias correction; the other form is the same with epsilon corrected likewise.
        correction = math.sqrt(1 - attributes.beta2**attributes.step) if attributes.epsilon_hat else 1.0
        updated = parameter.clone()
        updated.grad = gradient
        settings = {
            "lr": attributes.learning_rate,
            "betas": (attributes.beta1, attributes.beta2),
            "eps": attributes.epsilon / correction,
        }
        optimizer = self._torch.optim.Adam([updated], **settings)
        state = {
            "step": self._torch.tensor(float(attributes.step - 1)),
            "exp_avg": m.clone(),
            "exp_avg_sq": v.clone(),
        }
        optimizer.state[updated] = state
        optimizer.step()
        self.log.write("p = {}.clone()", parameter)
        self.log.name(updated, "p")
        self.log.write("p.grad = {}", gradient)
        self.log.write("optimizer = torch.optim.Adam([p], lr={}, betas={}, eps={})", *settings.values())
        self.log.write(
            'optimizer.state[p] = {{"step": torch.tensor({}), "exp_avg": {}.clone(), "exp_avg_sq": {}.clone()}}',
            float(attributes.step - 1),
            m,
            v,
        )
        self.log.write("optimizer.step()")
        for name in ("exp_avg", "exp_avg_sq"):
            self.log.name(state[name], f'optimizer.state[p]["{name}"]')
        return {"parameter": updated, "m": state["exp_avg"], "v": state["exp_avg_sq"]}
