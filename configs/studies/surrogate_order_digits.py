"""Derivatives of sign by their order (Table 2): clip, second (ApproxSign) and third, from the same real networks."""

_base_ = 'deeper_digits.py'

variants = {
    '_delete_': True,
    'second_order': {},
    'third_order': {'stages.binary.model.backbone.sign': 'ThirdOrder'},
    'clip': {'stages.binary.model.backbone.sign': 'STE'},
}
claims = [
    dict(text='third order > second', better='third_order', worse='second_order', paper='+0.06'),
    dict(text='second order > clip', better='second_order', worse='clip', paper='+2.8'),
]
