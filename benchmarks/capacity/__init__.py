"""`carousel bench capacity`: what so many people typing at once need, computed from what one server was seen to take.

`people` type at a server, `backing` starts what stands around it, `measuring` counts what a keystroke and a session
cost, `costs` are those figures, `needs` computes from them alone, `page` puts the tables into docs/capacity.md.
"""
