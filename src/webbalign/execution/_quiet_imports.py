"""What the server of worker processes imports first: no garbage collection, no Ctrl-C.

Modules are a million objects that live as long as the process; searching them again and again takes
a quarter of the time. The workers collect again, see :mod:`webbalign.execution.fresh_processes`.
"""

import gc
import signal

gc.disable()
# Ctrl-C reaches the whole group; the parent alone decides, without a traceback of the imports
signal.signal(signal.SIGINT, signal.SIG_IGN)
