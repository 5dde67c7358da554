"""``resfuse bench --peers``: whole ResNets beside the engines that people use instead."""
